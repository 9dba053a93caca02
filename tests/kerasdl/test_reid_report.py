"""Ranked strips and curves: which picture stands where, in which frame."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from kerasdl import reid_report
from kerasdl.data.splits import ArraySplit
from kerasdl.metrics import reid_ranking, roc
from kerasdl.reid_report import COLOURS, FRAME, TALL, ranked_lists, strips, telling_queries


def on_the_circle(*degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


# by distance from query 0: junk, same camera, another person, distractor, match
GALLERY = {"degrees": (40, 5, 20, 30, 10), "pids": [4, -1, 2, 0, 4], "camids": [2, 2, 1, 3, 1]}


def lists(queries=(0,), **options):
    gallery = on_the_circle(*GALLERY["degrees"])
    return ranked_lists(queries, on_the_circle(0, 21), gallery, [4, 2], GALLERY["pids"], [1, 2], GALLERY["camids"], **options)


def test_a_ranked_list_keeps_what_is_ignored_in_its_place():
    (found,) = lists()
    assert found.gallery.tolist() == [1, 4, 2, 3, 0]
    assert found.verdicts == ("ignored", "ignored", "wrong", "wrong", "right")
    assert found.captions == ("id 4, cam 1", "junk, cam 2", "id 4, cam 1", "id 2, cam 1", "distractor, cam 3", "id 4, cam 2")
    np.testing.assert_allclose(found.distances, 1 - np.cos(np.radians([5, 10, 20, 30, 40])), atol=1e-6)


def test_queries_come_in_the_order_asked_and_lists_are_as_long_as_wanted():
    second, first = lists([1, 0], top=2)
    assert (second.query, second.gallery.tolist(), second.verdicts) == (1, [2, 3], ("right", "wrong"))
    assert (first.query, first.gallery.tolist()) == (0, [1, 4])


def test_without_cameras_the_captions_name_none():
    (found,) = ranked_lists([0], on_the_circle(0), on_the_circle(3), [1], [1], protocol="all")
    assert found.captions == ("id 1", "id 1") and found.verdicts == ("right",)


@pytest.mark.parametrize("queries", [[], [2], [-1]])
def test_queries_that_do_not_exist_are_refused(queries):
    with pytest.raises(ValueError, match="queries must be numbers from 0 to 1, at least one. Received"):
        lists(queries)


def test_telling_queries_go_from_the_worst_to_the_best():
    ap = [0.5, np.nan, 1.0, 0.1, 0.3, 0.9]
    assert telling_queries(ap, 3) == [3, 0, 2]
    assert telling_queries(ap, 1) == [3]
    assert telling_queries(ap, 9) == [3, 4, 0, 5, 2]
    assert telling_queries([np.nan], 3) == []


def grey(*sizes):
    return [np.full((*size, 3), 255 - number, np.uint8) for number, size in enumerate(sizes)]


def frames(path, row=0):
    """Colours at the left edges of the pictures' frames, half way down, from left to right."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    top = 5 * reid_report.LINE + row * (TALL + 2 * FRAME + 2 * reid_report.LINE + 2 + reid_report.GAP)
    line = pixels[top + TALL // 2]
    known: dict[tuple[int, ...], str] = {ImageColor.getrgb(colour): name for name, colour in {**COLOURS, "query": reid_report.INK}.items()}
    names = [known.get(tuple(map(int, pixel)), "") for pixel in line]
    return [name for name, before in zip(names, ["", *names], strict=False) if name and name != before][::2]  # a left and a right edge each


def test_strips_frame_every_picture_by_its_verdict(tmp_path):
    strips(lists([0, 1]), grey((64, 32), (64, 32)), grey(*[(64, 32)] * 5), tmp_path / "a.png", "a", query_ap=[0.2, 1.0])
    assert frames(tmp_path / "a.png") == ["query", "ignored", "ignored", "wrong", "wrong", "right"]
    assert frames(tmp_path / "a.png", row=1) == ["query", "right", "wrong", "wrong", "ignored", "wrong"]


def test_pictures_of_every_shape_and_a_split_are_drawn(tmp_path):
    queries = ArraySplit({"image": np.zeros((2, 28, 28, 1), np.uint8)})
    strips(lists(), queries, grey((128, 64), (64, 64), (40, 20), (300, 100), (30, 90)), tmp_path / "a.png", "a")
    assert frames(tmp_path / "a.png") == ["query", "ignored", "ignored", "wrong", "wrong", "right"]


@pytest.fixture
def drawn(monkeypatch):
    made = []
    new = reid_report.new_figure

    def remember(*size):
        made.append(new(*size))
        return made[-1]

    monkeypatch.setattr(reid_report, "new_figure", remember)
    return made


def test_cmc_is_drawn_in_percent_from_rank_1(drawn, tmp_path):
    result = reid_ranking([[0.1, 0.2], [0.1, 0.2]], [1, 2], [1, 2], protocol="all", max_rank=3)
    reid_report.cmc_curves({"net": result}, tmp_path / "cmc.png", "CMC")
    (line,) = drawn[0].axes[0].get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), [50, 100, 100])
    assert line.get_label() == "net: rank-1 50.0 %, mAP 75.0 %" and (tmp_path / "cmc.png").stat().st_size > 1000


def test_roc_is_drawn_where_the_far_is_not_zero(drawn, tmp_path):
    reid_report.roc_curves({"net": roc([0.1, 0.3], [0.2, 0.4])}, tmp_path / "roc.png", "ROC", far=0.5)
    line, mark = drawn[0].axes[0].get_lines()
    np.testing.assert_allclose(line.get_xdata(), [0.5, 0.5, 1])
    np.testing.assert_allclose(line.get_ydata(), [50, 100, 100])
    assert line.get_label() == "net: AUC 0.7500" and mark.get_xdata()[0] == 0.5
