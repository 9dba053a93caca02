"""The drawn pedestrians: who they are, what a picture is, what is easy and hard about them, and their files in Market-1501's names."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from kerasdl.data.market import market, parse_name
from kerasdl.data.pedestrians import CAMERAS, pedestrians, people, render, sightings, trial, write_market
from kerasdl.data.pedestrians.figure import Pose, skeleton
from kerasdl.data.pedestrians.identity import CHOICES, DRESS


@pytest.fixture(scope="module")
def small():
    return pedestrians(20, height=32, seed=3)


# --- identities ---


@pytest.mark.parametrize("domain", DRESS)
def test_a_thousand_people_are_all_different_and_every_value_is_worn_by_one_in_twenty(domain):
    persons = people(1000, seed=0, domain=domain)
    assert len({tuple(person.attributes.values()) for person in persons}) == 1000
    for name in CHOICES:
        worn = Counter(getattr(person, name) for person in persons)
        assert set(worn) == set(CHOICES[name])
        assert min(worn.values()) >= 40, f"{name}: {worn}"  # a share of 5 % on average, less what 1,000 draws may miss


def test_the_shares_of_every_attribute_are_at_least_one_in_twenty_and_sum_to_one():
    for shares in DRESS.values():
        for name, values in shares.items():
            assert min(values.values()) >= 0.05, name
            assert sum(values.values()) == pytest.approx(1), name


def test_many_people_have_a_look_alike_that_differs_in_one_or_two_attributes():
    persons = people(300, seed=1)
    differences = [
        sum(a != b for a, b in zip(one.attributes.values(), other.attributes.values(), strict=True))
        for one, other in zip(persons, persons[1:], strict=False)
    ]
    assert sum(d in (1, 2) for d in differences) > 60


def test_fewer_people_of_a_seed_are_the_first_of_them_and_another_seed_has_others():
    assert people(30, seed=5) == people(60, seed=5)[:30]
    assert not set(people(30, seed=5)) & set(people(30, seed=6))


# --- the body ---


@pytest.mark.parametrize("phase", np.linspace(0, 2 * np.pi, 9))
def test_the_lower_foot_stands_on_the_floor_and_bones_keep_their_length_in_the_whole_gait(phase):
    person = people(1, seed=0)[0]
    body = skeleton(person, Pose(yaw=0.0, elevation=0.0, phase=phase, stride=0.5))
    assert min(leg[2][1] for leg in body.legs) == pytest.approx(0.038)
    for leg in body.legs:
        assert leg[0][1] > leg[1][1] > leg[2][1]  # hip over knee over ankle
        assert np.hypot(leg[1][1] - leg[0][1], leg[1][2] - leg[0][2]) == pytest.approx(0.245)


# --- pictures ---


def test_a_shot_is_the_same_picture_at_every_call_and_another_number_is_another_picture():
    shot = sightings(people(1, seed=0), 1, "street", seed=0)[0]
    picture = render(shot, 64, 32)
    assert picture.dtype == np.uint8 and picture.shape == (64, 32, 3)
    np.testing.assert_array_equal(picture, render(shot, 64, 32))
    assert (picture != render(dataclasses.replace(shot, number=shot.number + 1), 64, 32)).mean() > 0.5


def test_a_shot_shows_the_same_view_at_every_size():
    shots = sightings(people(3, seed=0), 1, "mall", seed=0)[:8]
    for shot in shots:
        small, large = (np.asarray(Image.fromarray(render(shot, h, h // 2)).resize((16, 32), Image.Resampling.BOX)) for h in (64, 256))
        correlation = np.corrcoef(small.ravel(), large.ravel())[0, 1]
        assert correlation > 0.9


def test_the_pictures_of_one_person_differ_more_between_cameras_than_those_of_two_people_on_one():
    colour = np.zeros((8, 6, 3))  # mean of the whole picture: person, place and camera
    for i, person in enumerate(people(8, seed=2)):
        first = sightings([person], i + 1, "street", 0)[0]
        for camid in range(1, 7):
            views = [render(dataclasses.replace(first, camid=camid, number=n), 64, 32) for n in range(2)]
            colour[i, camid - 1] = np.stack(views).mean(axis=(0, 1, 2))
    assert colour.std(axis=1).mean() > colour.std(axis=0).mean()


def test_an_empty_box_shows_less_than_a_box_around_a_person():
    shot = sightings(people(1, seed=0), 1, "street", 0)[0]
    pairs = [(dataclasses.replace(shot, number=n), dataclasses.replace(shot, number=n, box="empty")) for n in range(4)]
    changed = [(np.abs(render(a, 64, 32).astype(int) - render(b, 64, 32)).max(-1) > 40).mean(axis=0) for a, b in pairs]
    assert np.mean([columns[10:22].mean() - columns[[0, 1, 30, 31]].mean() for columns in changed]) > 0.1


# --- splits ---


def test_training_validation_and_test_people_are_disjoint_and_labels_count_the_training_people(small):
    train, valid, test = (set(split.facts()["pid"]) - {-1, 0} for split in (small.train, small.valid, small.test))
    cross = set(small.roles["cross_gallery"].facts()["pid"]) - {-1, 0}
    assert [len(some) for some in (train, valid, test)] == [12, 2, 6]
    assert not (train & valid or train & test or valid & test or cross & (train | valid | test))
    facts = small.train.facts()
    np.testing.assert_array_equal(np.unique(facts["label"]), np.arange(12))
    assert all(small.spec.labels[label] == str(pid) for label, pid in zip(facts["label"], facts["pid"], strict=True))
    assert set(small.test.facts()["label"]) == {-1}


def test_every_query_has_an_answer_from_another_camera_and_the_gallery_has_junk_and_distractors(small):
    for prefix in ("", "valid_", "cross_"):
        query, gallery = (small.roles[prefix + role].facts() for role in ("query", "gallery"))
        for pid, camid in zip(query["pid"], query["camid"], strict=True):
            assert ((gallery["pid"] == pid) & (gallery["camid"] != camid)).any()
        assert {-1, 0} <= set(gallery["pid"]) and (query["pid"] > 0).all()
        assert Counter(zip(query["pid"], query["camid"], strict=True)).most_common(1)[0][1] == 1  # one query a camera


def test_test_is_query_then_gallery_and_pictures_are_drawn_once(small):
    query = small.roles["query"]
    np.testing.assert_array_equal(small.test.arrays([0, 1])["image"], query.arrays([0, 1])["image"])
    assert query.decode(query.sources[0]) is small.test.decode(small.test.sources[0])
    example = small.test.arrays([0])
    assert example["image"].shape == (1, 32, 16, 3) and example["pid"].dtype == np.int64
    assert small.spec.image_shape == (32, 16, 3) and small.card["synthetic"] is True


def test_nothing_but_the_seed_decides_the_splits(small):
    again = pedestrians(20, height=32, seed=3)
    np.testing.assert_array_equal(again.train.arrays([5, 50])["image"], small.train.arrays([5, 50])["image"])
    assert again.card == small.card and again.spec == small.spec


@pytest.mark.parametrize(
    ("arguments", "sentence"), [({"domain": "moon"}, "one of"), ({"identities": 5}, "at least 20"), ({"height": 31}, "even")]
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=f"{sentence}.*Received"):
        pedestrians(**arguments)


# --- files ---


def test_the_people_are_written_in_market_names_and_read_back(small, tmp_path):
    counts = write_market(tmp_path, small)
    files = {name: sorted((tmp_path / name).iterdir()) for name in counts}
    assert {name: len(found) for name, found in files.items()} == counts
    for name, role in (("query", "query"), ("bounding_box_test", "gallery")):
        facts = small.roles[role].facts()
        assert Counter(map(parse_name, files[name])) == Counter(zip(facts["pid"].tolist(), facts["camid"].tolist(), strict=True))
    assert any(file.name.startswith("-1_c") for file in files["bounding_box_test"])
    assert any(file.name.startswith("0000_c") for file in files["bounding_box_test"])

    back = market(str(tmp_path), height=32, width=16, valid=0.1)
    assert len(back.roles["query"]) == len(small.roles["query"]) and len(back.roles["gallery"]) == len(small.roles["gallery"])
    assert len(back.spec.labels) + back.card["identities"]["valid"] == 14
    facts, drawn = back.roles["query"].arrays(), small.roles["query"].arrays()
    for pid, camid in {(int(p), int(c)) for p, c in zip(drawn["pid"], drawn["camid"], strict=True)}:
        one, other = (some["image"][(some["pid"] == pid) & (some["camid"] == camid)][0].astype(int) for some in (facts, drawn))
        assert np.abs(one - other).mean() < 6  # JPEG at quality 95
    with pytest.raises(ValueError, match="new folders only.*Received"):
        write_market(tmp_path, small)


# --- the task: not for colours alone ---


def nearest_is_right(query: np.ndarray, gallery: np.ndarray, facts: tuple[dict, dict], cross_camera: bool = True) -> float:
    """Rank-1 by the inner product of rows, over queries; junk never counts, nor the same person on the same camera where `cross_camera`."""
    q, g = facts
    likeness = (query @ gallery.T).astype(np.float64)
    same = q["pid"][:, None] == g["pid"]
    ignored = np.broadcast_to(g["pid"] == -1, same.shape) | (same & (q["camid"][:, None] == g["camid"]) & cross_camera)
    best = np.where(ignored, -np.inf, likeness).argmax(axis=1)
    return float((g["pid"][best] == q["pid"]).mean())


def histograms(images: np.ndarray) -> np.ndarray:
    """Square roots of the shares of 16 levels a channel in six stripes of the middle half: rows of unit length (N,288)."""
    middle = images[:, :, images.shape[2] // 4 : -images.shape[2] // 4] // 16
    stripes = [np.stack([(stripe == level).mean(axis=(1, 2)) for level in range(16)], -1) for stripe in np.array_split(middle, 6, axis=1)]
    return np.sqrt(np.stack(stripes, 1).reshape(len(images), -1) / 18)


def raw_pixels(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def untrained(images: np.ndarray, seed: int) -> np.ndarray:
    """Unit embeddings of a small convolutional network as it was initialised."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input(images.shape[1:])
    x = layers.Rescaling(1 / 64, -2)(x)
    for width in (32, 64, 128):
        x = layers.Conv2D(width, 3, strides=2, padding="same", kernel_initializer="he_normal", activation="relu")(x)
    x = layers.UnitNormalization()(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x).predict(images, verbose=0)


@pytest.mark.parametrize("domain", CAMERAS)
def test_neither_colours_nor_pixels_nor_an_untrained_network_know_a_person_on_another_camera(domain):
    query, gallery = (
        {"image": np.stack([render(s, 64, 32) for s in some]), **{k: np.array([getattr(s, k) for s in some]) for k in ("pid", "camid")}}
        for some in trial(people(40, seed=0, domain=domain), 1, domain, seed=0)
    )
    facts = (query, gallery)
    colours, pixels = ((f(query["image"]), f(gallery["image"])) for f in (histograms, raw_pixels))
    by_colour, by_pixel = nearest_is_right(*colours, facts), nearest_is_right(*pixels, facts)
    assert by_colour <= 0.4 and by_pixel <= 0.4
    assert nearest_is_right(*colours, facts, cross_camera=False) > by_colour + 0.15
    networks = [nearest_is_right(untrained(query["image"], seed), untrained(gallery["image"], seed), facts) for seed in range(2)]
    assert np.mean(networks) < by_colour, (networks, by_colour)
