"""python tools/zoo_figure.py: draws docs/zoo.png, the size and the cost of the models of kerasdl/zoo.csv that convolve or attend."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kerasdl.zoo import Row, read_zoo

FILE = Path(__file__).parents[1] / "docs" / "zoo.png"
# The others lie on these or between them.
LABELLED = """resnet20 resnet56 resnet110 resnet18_small resnet18 resnet50 resnet152 densenet_bc_40_12 densenet_bc_100_12 densenet121
    osnet_x0_25 osnet_x1_0 googlenet alexnet vgg11 vgg19 vit_ti4 vit_ti16 vit_s32 vit_b16 vit_b32 vit_l16 vit_l32 vit_h14""".split()
LEFT = "osnet_x1_0 vit_ti16 vit_b16 densenet121 densenet_bc_100_12 resnet152".split()  # labels to the left of their point


def draw(rows: list[Row]) -> Figure:
    """Trainable parameters to the right, multiply-adds of one picture upwards, both logarithmic, a colour a family."""
    figure = Figure((10, 6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    families = dict.fromkeys(row.family for row in rows)
    for number, family in enumerate(families):
        members = [row for row in rows if row.family == family]
        x, y = [row.trainable for row in members], [row.multiply_adds for row in members]
        axes.scatter(x, y, s=26, color=f"C{number}" if number < 10 else "black", label=family, zorder=2)
        for row in members:
            if row.name in LABELLED:
                place, side = ((-5, 4), "right") if row.name in LEFT else ((5, -8), "left")
                point = (row.trainable, row.multiply_adds)
                axes.annotate(row.name, point, place, textcoords="offset points", ha=side, fontsize=8)
    axes.set(xscale="log", yscale="log", xlim=(1e5, 1.5e9), ylim=(2e7, 4e11))
    axes.set(xlabel="trainable parameters", ylabel="multiply-adds of one picture")
    axes.grid(alpha=0.3, which="major")
    axes.legend(fontsize=8, loc="lower right")
    return figure


if __name__ == "__main__":
    draw([row for row in read_zoo() if row.multiply_adds > 2e7]).savefig(FILE)
    print(FILE.name)
