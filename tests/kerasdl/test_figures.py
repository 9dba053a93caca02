"""Learning curves: what is drawn, read from the axes that a picture is made of."""

import numpy as np
import pytest
from PIL import Image

from kerasdl import figures


@pytest.fixture
def drawn(monkeypatch):
    """The figures that the functions made, for their axes."""
    made = []
    new = figures.new_figure

    def remember(*size):
        made.append(new(*size))
        return made[-1]

    monkeypatch.setattr(figures, "new_figure", remember)
    return made


def history(rates):
    best_in_the_middle = [0.5, 0.7, 0.6, 0.65]
    return [
        {
            "epoch": i + 1,
            "loss": 1.0 / (i + 1),
            "accuracy": 0.8,
            "val_loss": 2.0 - i,
            "val_accuracy": best_in_the_middle[i],
            "learning_rate": rate,
        }
        for i, rate in enumerate(rates)
    ]


def test_the_best_epoch_is_marked_and_steps_of_the_rate_are_drawn_on_a_log_scale(drawn, tmp_path):
    figures.curves(history([1.0, 0.1, 0.01, 0.001]), tmp_path / "a.png", "a", ["It overfits. " * 30])
    loss, accuracy, rate = drawn[0].axes
    assert "best: 0.7000 in epoch 2" in [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert "best: -1.0000 in epoch 4" in [text.get_text() for text in loss.get_legend().get_texts()]
    assert rate.get_yscale() == "log"
    below = drawn[0].get_supxlabel()
    assert below.startswith("It overfits.") and "\n" in below, "wrapped, not cut"
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == 1100 and picture.height > 374


def test_a_rate_that_ends_at_zero_keeps_its_shape(drawn, tmp_path):
    figures.curves(history([1.0, 0.5, 0.01, 0.0]), tmp_path / "a.png", "a")
    assert drawn[0].axes[2].get_yscale() == "linear"


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "loss": 1.0}], [{"epoch": 1, "loss": float("nan"), "val_loss": float("nan")}]])
def test_histories_with_little_in_them_are_drawn_too(rows, tmp_path):
    figures.curves(rows, tmp_path / "a.png", "a", ["One epoch."])
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_comparison_has_epochs_and_minutes(drawn, tmp_path):
    rows = [{"epoch": i + 1, "val_accuracy": 0.5, "val_loss": 1.0, "seconds": 90.0} for i in range(3)]
    figures.comparison({"a": rows, "b": rows[:1]}, tmp_path / "both.png")
    by_minutes = drawn[0].axes[1].get_lines()[0]
    np.testing.assert_allclose(by_minutes.get_xdata(), [1.5, 3.0, 4.5])
    assert [text.get_text() for text in drawn[0].axes[0].get_legend().get_texts()] == ["a", "b"]
