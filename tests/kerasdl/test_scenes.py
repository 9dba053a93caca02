"""Scenes: what is drawn can be seen, every sentence says exactly what is drawn, and memory does not help in the test."""

import colorsys
import importlib
import time
from collections import defaultdict
from itertools import combinations as pairs_of
from itertools import islice

import numpy as np
import pytest

from kerasdl.data import find_data
from kerasdl.data.digits import digits
from kerasdl.data.scenes import album_of, combinations, draw, every_sentence, invent, is_held_out, parse, scenes, sentences, slot_scores
from kerasdl.data.scenes.grammar import lexicon
from kerasdl.data.scenes.invent import FORMS
from kerasdl.data.scenes.layout import fits, layout
from kerasdl.data.scenes.picture import PALETTE
from kerasdl.data.scenes.scene import COLOURS, DIGITS, PHOTOGRAPHS, PLACES, ROLES, SHAPES, Scene, Thing, roles
from kerasdl.data.splits import ArraySplit, Splits
from kerasdl.data.tfds_sets import CIFAR10_LABELS
from kerasdl.text import UNK, Vocabulary, tokenize

SUBJECTS = {"digits": DIGITS, "photographs": PHOTOGRAPHS}


def told_of(sentence):
    """The scene of a sentence that has one."""
    scene = parse(sentence)
    assert scene is not None, sentence
    return scene


def invented(number, subjects=DIGITS, unseen=False, seed=0):
    return [invent((seed, i), subjects, unseen) for i in range(number)]


@pytest.fixture(scope="module")
def small():
    return scenes(scenes=300, checks=60)


@pytest.fixture(scope="module")
def album():
    return album_of(digits().train, DIGITS)


# --- sentences ---


@pytest.mark.parametrize("subjects", SUBJECTS)
def test_every_sentence_of_a_scene_says_the_whole_scene(subjects):
    for scene in invented(1000, SUBJECTS[subjects]):
        told = sentences(scene)
        assert len(set(told)) == 5
        for sentence in told:
            assert parse(sentence) == scene, sentence


@pytest.mark.parametrize("subjects", SUBJECTS)
def test_all_sentences_of_some_scenes_of_every_form_say_the_whole_scene(subjects):
    seen = defaultdict(int)
    for scene in invented(150, SUBJECTS[subjects], seed=1):
        form = scene.relation or len(scene.things), scene.things[0].count > 1
        seen[form] += 1
        if seen[form] <= 3:
            for sentence in islice(every_sentence(scene), 0, 20000, 7):
                assert parse(sentence) == scene, sentence
    assert len(seen) >= 9


@pytest.mark.parametrize(
    "sentence, things, relation",
    [
        ("a large seven to the left of two red circles", [("seven", None, "large", 1), ("circle", "red", None, 2)], "left"),
        ("a star in pink with two little twos to its left", [("two", None, "small", 2), ("star", "pink", None, 1)], "left"),
        ("three number ones under an orange eight", [("eight", "orange", None, 1), ("one", None, None, 3)], "above"),
        ("a purple heart with a four in red in it", [("four", "red", None, 1), ("heart", "purple", None, 1)], "inside"),
        ("two photos of deer in red frames above a plane", [("deer", "red", None, 2), ("airplane", None, None, 1)], "above"),
    ],
)
def test_sentences_mean_what_a_reader_takes_from_them(sentence, things, relation):
    assert parse(sentence) == Scene(tuple(Thing(*thing) for thing in things), relation)


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "a seven",  # nowhere
        "two seven on the left",  # one or two?
        "a red cat on the left",  # colours belong to frames, never to photographs
        "a number star on the left",
        "a red circle in red on the left",
        "a red circle on the left of",
        "a seven to the left of a star and a heart",
        "there is a seven on the left there is",
    ],
)
def test_what_the_grammar_cannot_say_has_no_scene(sentence):
    assert parse(sentence) is None


def test_sentences_survive_the_tokenizer_and_digits_need_at_most_a_hundred_words(small):
    assert small.spec.classes == len(lexicon(DIGITS)) + 4 <= 100
    told = {sentence for scene in invented(500) for sentence in sentences(scene)}
    assert all(tokenize(sentence) == sentence.split() for sentence in told)
    assert {word for sentence in told for word in sentence.split()} == set(lexicon(DIGITS))


def test_a_scene_with_fewer_sentences_than_asked_for_is_an_error():
    star = Scene((Thing("star", "red", place="middle"),))
    assert len(set(every_sentence(star))) == 20
    with pytest.raises(ValueError, match="number=21"):
        sentences(star, 21)


# --- slots ---


TOLD = "a large seven to the left of two red circles"


@pytest.mark.parametrize(
    "candidate, wrong",
    [
        (TOLD, set()),
        ("there are two circles in red to the right of a big number seven", {"exact"}),  # other words, the same scene
        ("a seven to the left of two red circles", {"exact", "size"}),
        ("a large nine to the left of two red circles", {"exact", "object"}),
        ("a large blue seven to the left of two red circles", {"exact", "colour"}),
        ("a large seven to the left of three red circles", {"exact", "count"}),
        ("two red circles to the left of a large seven", {"exact", "relation"}),  # the same things on the wrong sides
        ("a large seven above two red circles", {"exact", "relation"}),
        ("a large seven at the top left", {"exact", "object", "colour", "size", "position", "count", "relation"}),
        ("a large large seven", {"exact", "object", "colour", "size", "position", "count", "relation"}),
    ],
)
def test_each_slot_is_wrong_where_the_sentence_is(candidate, wrong):
    scores = slot_scores([candidate], [[TOLD]])
    expected = {*wrong, "all_slots"} if wrong - {"exact"} else wrong
    assert {name for name, score in scores.items() if score == 0} == expected
    assert {score for name, score in scores.items() if name not in expected} <= {1.0}


def test_the_references_have_all_slots_right_and_sentences_of_other_scenes_few(small):
    references = small.references["test"]
    assert slot_scores([some[0] for some in references], references) == dict.fromkeys(slot_scores([TOLD], [[TOLD]]), 1.0)
    assert slot_scores([some[-1] for some in references], [some[:-1] for some in references])["all_slots"] == 1
    others = slot_scores([some[0] for some in references[1:] + references[:1]], references)
    assert others["all_slots"] <= 0.02 and others["object"] < 0.1 and others["colour"] < 0.4


@pytest.mark.parametrize("references", [[], ["a seven"], [TOLD, "a seven on the left"]])
def test_references_that_tell_of_no_scene_or_of_two_are_an_error(references):
    with pytest.raises(ValueError, match="about one scene"):
        slot_scores([TOLD], [references])


def test_slots_need_one_candidate_a_picture():
    for candidates in ([], [TOLD, TOLD]):
        with pytest.raises(ValueError, match="one candidate a picture"):
            slot_scores(candidates, [[TOLD]])


# --- what can be seen ---


def box(marks):
    """Left, top, right and bottom of marks together."""
    edges = [(m.x - m.extent / 2, m.y - m.extent / 2, m.x + m.extent / 2, m.y + m.extent / 2) for m in marks]
    return np.array([*np.min(edges, axis=0)[:2], *np.max(edges, axis=0)[2:]])


def laid_out(number, subjects=DIGITS):
    """(scene, its marks in the order of its things) of scenes without an outline."""
    for scene in invented(number, subjects, seed=2):
        marks = layout(scene, np.random.default_rng(scene.seed))
        if scene.relation != "inside":
            groups = [[mark for mark in marks if (mark.kind, mark.colour) == (thing.kind, thing.colour)] for thing in scene.things]
            assert sum(map(len, groups)) == len(marks)
            yield scene, groups


@pytest.mark.parametrize("subjects", SUBJECTS)
def test_everything_is_inside_the_picture_in_the_number_said_and_touches_nothing(subjects):
    for scene, groups in laid_out(800, SUBJECTS[subjects]):
        assert [len(group) for group in groups] == [thing.count for thing in scene.things]
        boxes = [box([mark]) for group in groups for mark in group]
        assert min(one.min() for one in boxes) >= 0 and max(one.max() for one in boxes) <= 1
        for one, other in pairs_of(boxes, 2):
            gap = max(np.maximum(one[:2], other[:2]) - np.minimum(one[2:], other[2:]))  # the wider of both directions
            assert gap >= 0.045, scene  # three pixels of 64


@pytest.mark.parametrize("subjects", SUBJECTS)
def test_a_relation_holds_for_whole_groups_and_in_one_direction(subjects):
    for scene, groups in laid_out(800, SUBJECTS[subjects]):
        if scene.relation not in ("left", "above"):
            continue
        first, second = (box(group) if scene.relation == "left" else box(group)[[1, 0, 3, 2]] for group in groups)
        assert first[2] + 0.06 < second[0], scene
        middles = [np.array([one[0] + one[2], one[1] + one[3]]) / 2 for one in (first, second)]
        along, across = middles[1] - middles[0]
        assert abs(across) < 0.4 * along, scene  # within 22 degrees


def test_what_is_between_lies_between_in_a_row():
    for scene, groups in laid_out(800):
        if scene.relation == "between":
            middle, *sides = (np.array([group[0].x, group[0].y]) for group in groups)
            along = np.argmax(abs(sides[1] - sides[0]))
            assert sorted([*sides, middle], key=lambda point: point[along])[1] is middle
            assert np.ptp([point[1 - along] for point in (*sides, middle)]) < 0.1


def test_places_are_where_they_are_said_to_be():
    for scene, groups in laid_out(1000):
        if scene.relation is None and "scattered" not in roles(scene):
            for thing, group in zip(scene.things, groups, strict=True):
                left, top, right, bottom = box(group)
                spare = [left / (1 - (right - left)), top / (1 - (bottom - top))]  # 0 at one border, 1 at the other
                words = str(thing.place).split()
                expected = [
                    0 if "left" in words else 1 if "right" in words else 0.5,
                    0 if "top" in words else 1 if "bottom" in words else 0.5,
                ]
                assert np.abs(np.array(spare) - expected).max() < 0.2, (thing, spare)


def test_what_is_scattered_spreads_in_both_directions():
    for scene, (group, *_) in laid_out(800):
        if roles(scene) == ("scattered",):
            assert min(np.ptp([mark.x for mark in group]), np.ptp([mark.y for mark in group])) > 0.25


def test_sizes_differ_by_half():
    extents = defaultdict(list)
    for subjects in SUBJECTS.values():
        for scene, groups in laid_out(500, subjects):
            for thing, group in zip(scene.things, groups, strict=True):
                extents[thing.kind in PHOTOGRAPHS, thing.size] += [mark.extent for mark in group]
    for photograph, low, high in [(False, "small", None), (False, None, "large"), (True, "small", "large")]:
        assert 1.35 * max(extents[photograph, low]) < min(extents[photograph, high])


def hue(picture):
    """The median hue, in degrees, of the pixels with the most colour."""
    values = picture.reshape(-1, 3) / 255
    chroma = np.ptp(values, axis=1)
    hues = np.array([360 * colorsys.rgb_to_hsv(*value)[0] for value in values[chroma > 0.7 * chroma.max()]])
    return np.rad2deg(np.angle(np.exp(1j * np.deg2rad(hues)).mean())) % 360


@pytest.mark.parametrize("kind", ["circle", "star", "seven", "one"])
def test_colours_can_be_told_from_the_picture(kind, album):
    hues = {name: 360 * colorsys.rgb_to_hsv(*np.array(rgb) / 255)[0] for name, rgb in PALETTE.items()}
    for number in range(10):
        for colour in COLOURS:
            seen = hue(draw(Scene((Thing(kind, colour, "small", place="middle"),), seed=(number,)), album))
            assert min(hues, key=lambda name: abs((hues[name] - seen + 180) % 360 - 180)) == colour


def test_only_what_has_a_colour_in_words_has_one_in_the_picture(album):
    photograph = {"cat": np.full((1, 32, 32, 3), 128, np.uint8)}
    for number in range(10):
        for kind, pictures in (("seven", album), ("cat", photograph)):
            plain, tinted = (draw(Scene((Thing(kind, c, "large", place="middle"),), seed=(number,)), pictures) for c in (None, "green"))
            assert np.ptp(plain.astype(int), axis=-1).max() < 40 < 80 < np.ptp(tinted.astype(int), axis=-1).max()


def test_an_outline_goes_around_what_is_inside(album):
    for scene in [scene for scene in invented(600) if scene.relation == "inside"]:
        outer, inner = layout(scene, np.random.default_rng(scene.seed))
        assert outer.outlined and not inner.outlined
        around, within = box([outer]), box([inner])
        assert (around[:2] + 0.1 < within[:2]).all() and (within[2:] < around[2:] - 0.1).all()
    assert draw(scene, album).shape == (64, 64, 3)


def test_what_does_not_fit_or_has_no_pictures_is_said_in_a_sentence():
    crowd = Scene((Thing("star", "red", "large", 4), Thing("circle", "blue", "large", 4)), "left")
    assert not fits(crowd)
    with pytest.raises(ValueError, match="must fit beside each other"):
        draw(crowd)
    with pytest.raises(ValueError, match="'seven', the album has"):
        draw(Scene((Thing("seven", place="top"),)))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Thing("house"), "kind must be one of"),
        (lambda: Thing("star", "mauve"), "colour must be one of None, red"),
        (lambda: Thing("star", count=5), "count must be 1, 2, 3 or 4"),
        (lambda: Scene((Thing("star"),), "left"), "a relation is"),
        (lambda: Scene((Thing("star", place="top"), Thing("star", place="top")), "left"), "things have a place where"),
        (lambda: Scene((Thing("star"),)), "things have a place where"),
    ],
)
def test_impossible_scenes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- held out ---


def test_no_combination_of_the_test_is_in_training_and_every_pair_is(small):
    trained = {one for scene in invented(20000) for one in combinations(scene)}
    tested = [combinations(scene) for scene in invented(300, unseen=True)]
    assert not any(is_held_out(*one) for one in trained)
    assert all(some - trained for some in tested)
    for keep in ((0, 1), (0, 2), (1, 2)):  # (kind, colour), (kind, role), (colour, role)
        known = {tuple(one[i] for i in keep) for one in trained}
        assert {tuple(one[i] for i in keep) for some in tested for one in some} <= known
    parsed = {part: [told_of(some[0]) for some in small.references[part]] for part in ("valid", "test")}
    assert not any(is_held_out(*one) for scene in parsed["valid"] for one in combinations(scene))
    assert all(any(is_held_out(*one) for one in combinations(scene)) for scene in parsed["test"])


def test_training_and_test_have_the_same_kinds_of_scenes_in_the_same_shares():
    for unseen in (False, True):
        some = invented(2000, unseen=unseen, seed=5)
        for relation in ("left", "above", "inside", "between"):
            assert sum(scene.relation == relation for scene in some) / 2000 == pytest.approx(FORMS[relation], abs=0.03)


def test_every_kind_colour_place_and_count_comes_up():
    things = [thing for scene in invented(3000) for thing in scene.things]
    assert {thing.kind for thing in things} == {*DIGITS, *SHAPES}
    assert {thing.colour for thing in things} == {None, *COLOURS}
    assert {thing.place for thing in things} == {None, *PLACES}
    assert {thing.count for thing in things} == {1, 2, 3, 4}
    assert {role for scene in invented(3000) for role in roles(scene)} == set(ROLES)


@pytest.mark.parametrize("number, part", [(0, "train"), (1, "valid"), (2, "test")])
def test_each_part_shows_the_digits_of_the_same_part_of_scikit_learns_scans(small, number, part):
    own, other = (album_of(digits(seed=0).split(name), DIGITS) for name in (part, "test" if part != "test" else "train"))
    shown = small.split(part).arrays(range(20))["image"]
    some = [invent((0, number, i), DIGITS, unseen=part == "test") for i in range(20)]
    np.testing.assert_array_equal(shown, [draw(scene, own) for scene in some])
    with_digits = [i for i, scene in enumerate(some) if any(thing.kind in DIGITS for thing in scene.things)]
    assert len(with_digits) > 10 and all((shown[i] != draw(some[i], other)).any() for i in with_digits)


@pytest.mark.parametrize("part", ["valid", "test"])
def test_the_caption_of_the_nearest_training_picture_is_seldom_right(part):
    splits = scenes(scenes=2000, checks=150, side=32)
    known, asked = (split.arrays()["image"].reshape(len(split), -1).astype(np.float32) for split in (splits.train, splits.split(part)))
    distance = (known**2).sum(1) - 2 * asked @ known.T  # up to a constant of each row
    vocabulary = Vocabulary(splits.spec.labels, splits.card["vocabulary"]["counts"])
    told = [vocabulary.decode(tokens) for tokens in splits.train.arrays()["tokens"][distance.argmin(axis=1)]]
    assert slot_scores(told, splits.references[part])["all_slots"] <= 0.15


# --- the data set ---


def test_examples_have_pictures_and_the_tokens_of_their_first_sentence(small):
    assert find_data("scenes") is scenes
    fields, vocabulary = small.test.arrays(), Vocabulary(small.spec.labels, small.card["vocabulary"]["counts"])
    assert fields["image"].shape == (60, 64, 64, 3) and fields["image"].dtype == np.uint8
    assert fields["label"].dtype == np.int64 and not fields["label"].any()
    assert fields["tokens"].shape == (60, small.spec.caption_length) and fields["tokens"].dtype == np.int32
    assert [vocabulary.decode(tokens) for tokens in fields["tokens"]] == [some[0] for some in small.references["test"]]
    assert {len(some) for part in ("valid", "test") for some in small.references[part]} == {5}
    assert all((split.arrays()["tokens"] != UNK).all() for split in (small.train, small.valid, small.test))
    assert small.card["counts"] == {"train": 300, "valid": 60, "test": 60} and small.card["synthetic"]
    assert small.card["vocabulary"]["words"] == list(small.spec.labels)
    counts = small.card["vocabulary"]["counts"][4:]
    assert counts == sorted(counts, reverse=True) and sum(counts) == (small.train.arrays()["tokens"] >= 4).sum()


def test_a_seed_gives_the_same_scenes_again_fewer_are_the_first_and_another_seed_gives_others(small):
    again, fewer, other = scenes(scenes=300, checks=60), scenes(scenes=20, checks=10), scenes(scenes=20, checks=10, seed=1)
    for part in ("train", "valid", "test"):
        fields = small.split(part).arrays()
        for name, values in again.split(part).arrays().items():
            np.testing.assert_array_equal(values, fields[name])
        np.testing.assert_array_equal(fewer.split(part).arrays()["image"], fields["image"][: len(fewer.split(part))])
        assert (other.split(part).arrays()["image"] != fewer.split(part).arrays()["image"]).mean() > 0.3
    assert fewer.references["test"] == small.references["test"][:10]
    assert small.spec == again.spec and small.spec.classes == fewer.spec.classes and small.spec.caption_length == fewer.spec.caption_length


def test_several_captions_a_picture_share_the_picture():
    splits = scenes(scenes=20, checks=5, captions=3)
    fields = splits.train.arrays()
    assert len(splits.train) == splits.card["counts"]["train"] == 60 and splits.card["pictures"]["train"] == 20
    for start in range(0, 60, 3):
        assert (fields["image"][start : start + 3] == fields["image"][start]).all()
        assert len({tuple(tokens) for tokens in fields["tokens"][start : start + 3]}) == 3


def test_photographs_come_from_cifar10s_splits_and_only_their_frames_have_colours(monkeypatch):
    assert PHOTOGRAPHS == CIFAR10_LABELS
    levels = {"train": 60, "valid": 120, "test": 180}
    fake = {
        part: ArraySplit({"image": np.full((10, 32, 32, 3), level, np.uint8), "label": np.arange(10)}) for part, level in levels.items()
    }
    card = {"name": "CIFAR-10", "source": "a test", "licence": "none"}
    made = Splits(fake["train"], fake["valid"], fake["test"], spec=digits().spec, card=card)
    monkeypatch.setattr(importlib.import_module("kerasdl.data.scenes"), "cifar10", lambda seed: made)
    splits = scenes("cifar10", scenes=40, checks=40, side=96)
    assert splits.spec.data_name == "scenes of CIFAR-10 photographs and shapes" and splits.spec.image_shape == (96, 96, 3)
    for part, level in levels.items():
        near = (np.abs(splits.split(part).arrays()["image"].astype(int) - level).max(axis=-1) <= 4).mean(axis=(1, 2))
        if part in splits.references:
            shown = [any(thing.kind in PHOTOGRAPHS for thing in told_of(some[0]).things) for some in splits.references[part]]
            assert min(share for share, is_shown in zip(near, shown, strict=True) if is_shown) > 0.03


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"pictures": "faces"}, "pictures must be one of digits, cifar10. Received: 'faces'"),
        ({"side": 31}, "side must be at least 32"),
        ({"scenes": 0}, "scenes=0"),
        ({"checks": 0}, "checks=0"),
        ({"captions": 6}, "captions=6"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        scenes(**arguments)


def test_a_thousand_scenes_take_about_a_second(album):
    """1,700 a second and core were measured beside other work; the test asks for less than half, for slower machines."""
    rates = []
    for start in range(3):
        before = time.process_time()
        for scene in invented(200, seed=start):
            draw(scene, album)
        rates.append(200 / (time.process_time() - before))
    assert max(rates) > 700
