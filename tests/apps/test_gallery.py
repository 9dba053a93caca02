"""What a gallery promises, asked of both stores: SQLite and Milvus Lite. Vectors are small and worked by hand, or of random clusters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from apps.gallery import Gallery, GalleryError, ModelMark, NewPicture, Quota, open_gallery

MARK = ModelMark("walkers", "a" * 64, 4)
OTHER = ModelMark("runners", "b" * 64, 3)
STORES = ("sqlite", "milvus")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ADDRESS = {"sqlite": "{}/people.gallery", "milvus": "milvus:{}/people"}


@pytest.fixture(params=STORES)
def address(request, tmp_path) -> str:
    if request.param == "milvus":
        pytest.importorskip("milvus_lite")
    return ADDRESS[request.param].format(tmp_path)


@pytest.fixture
def gallery(address) -> Iterator[Gallery]:
    with open_gallery(address, MARK) as gallery:
        yield gallery


def unit(*numbers: float) -> np.ndarray:
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)


def picture(*numbers: float, **known) -> NewPicture:
    return NewPicture(unit(*numbers), **known)


def names(hits) -> list[str]:
    return [hit.person.name for hit in hits]


def refused(reason: str, match: str = "Received"):
    return pytest.raises(GalleryError, match=match, check=lambda error: error.reason == reason)


# --- keeping ---


def test_what_is_enrolled_is_there_and_there_again_when_opened_anew(address):
    with open_gallery(address, MARK) as gallery:
        ada = gallery.enrol("Ada", [picture(1, 0, 0, 0, camera="c1", time=NOON, thumbnail=b"small"), picture(1, 1, 0, 0, picture=b"whole")])
        assert (ada.name, ada.pictures) == ("Ada", 2) and len(ada.id) == 32
        assert abs(datetime.now(UTC) - ada.added) < timedelta(minutes=1)
    with open_gallery(address, MARK) as gallery:
        assert (gallery.people, gallery.pictures, gallery.model) == (1, 2, MARK)
        assert gallery.get(ada.id) == ada and gallery.list() == [ada]
        first, second = gallery.kept(ada.id)
        assert (first.camera, first.time, first.has_thumbnail, first.has_picture) == ("c1", NOON, True, False)
        assert (second.camera, second.time, second.has_thumbnail, second.has_picture) == (None, None, False, True)
        assert gallery.thumbnail(first.id) == b"small" and gallery.picture(first.id) is None
        assert gallery.thumbnail(second.id) is None and gallery.picture(second.id) == b"whole"
        assert names(gallery.search(unit(1, 0, 0, 0))) == ["Ada"]


def test_pictures_are_added_to_a_person_who_is_there(gallery):
    ada = gallery.enrol("Ada", [picture(1, 0, 0, 0)])
    assert gallery.enrol("", [picture(0, 1, 0, 0)], person=ada.id) == replace(ada, pictures=2)
    assert (gallery.people, gallery.pictures) == (1, 2)
    for nobody in ("0" * 32, ""):
        with refused("unknown"):
            gallery.enrol("Bob", [picture(0, 1, 0, 0)], person=nobody)
    assert gallery.people == 1


def test_people_are_listed_in_order_in_pages_and_by_a_part_of_their_name(gallery):
    for name in ("Ada", "Örjan", "ada b_c", "Zoë%", "Ada"):
        gallery.enrol(name, [picture(1, 0, 0, 0)])
    assert [person.name for person in gallery.list()] == ["Ada", "Örjan", "ada b_c", "Zoë%", "Ada"]
    assert [person.name for person in gallery.list(1, 2)] == ["Örjan", "ada b_c"]
    assert [person.name for person in gallery.list(like="ADA")] == ["Ada", "ada b_c", "Ada"]
    assert [person.name for person in gallery.list(like="öR")] == ["Örjan"]
    assert [person.name for person in gallery.list(like="%")] == ["Zoë%"]
    assert gallery.list(like="_d") == [] and gallery.list(5) == []


def test_a_name_is_changed_everywhere(gallery):
    ada = gallery.enrol("Ada", [picture(1, 0, 0, 0)])
    assert gallery.rename(ada.id, "  Augusta ") == replace(ada, name="Augusta") == gallery.get(ada.id)
    assert names(gallery.search(unit(1, 0, 0, 0))) == ["Augusta"] and gallery.list(like="ada") == []
    with refused("unknown"):
        gallery.rename("0" * 32, "Nobody")


def test_who_is_deleted_is_found_by_nobody(gallery):
    ada, bob = gallery.enrol("Ada", [picture(1, 0, 0, 0, thumbnail=b"x")]), gallery.enrol("Bob", [picture(0, 1, 0, 0)])
    (kept,) = gallery.kept(ada.id)
    gallery.delete(ada.id)
    assert (gallery.people, gallery.pictures, gallery.list()) == (1, 1, [bob])
    assert names(gallery.search(unit(1, 0, 0, 0))) == ["Bob"]
    for ask in (gallery.get, gallery.kept, gallery.delete):
        with refused("unknown"):
            ask(ada.id)
    for ask in (gallery.thumbnail, gallery.picture, gallery.delete_picture):
        with refused("unknown"):
            ask(kept.id)
    assert names(gallery.search(unit(1, 0, 0, 0), by="mean")) == ["Bob"]


def test_one_picture_is_deleted_but_not_the_last(gallery):
    ada = gallery.enrol("Ada", [picture(1, 0, 0, 0), picture(0, 1, 0, 0)])
    first, second = gallery.kept(ada.id)
    gallery.delete_picture(first.id)
    assert gallery.kept(ada.id) == [second] and gallery.search(unit(1, 0, 0, 0))[0].similarity == pytest.approx(0)
    with refused("invalid", "delete the person"):
        gallery.delete_picture(second.id)


def test_a_large_picture_comes_back_whole(gallery):
    data = np.random.default_rng(0).bytes(200_001)
    ada = gallery.enrol("Ada", [picture(1, 0, 0, 0, thumbnail=data[:60_000], picture=data)])
    (kept,) = gallery.kept(ada.id)
    assert gallery.picture(kept.id) == data and gallery.thumbnail(kept.id) == data[:60_000]


def test_known_digests_are_those_of_people_who_are_there(gallery):
    one, two, three = (bytes([number]) * 32 for number in range(3))
    ada = gallery.enrol("Ada", [picture(1, 0, 0, 0, digest=one), picture(1, 0, 0, 0, digest=two)])
    assert gallery.known([one, two, three]) == {one, two} and gallery.known([]) == set()
    gallery.delete(ada.id)
    assert gallery.known([one, two, three]) == set()


def content(address: str) -> bytes:
    path = Path(address.removeprefix("milvus:"))
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [*path.parent.glob(f"{path.name}*")]
    return b"".join(file.read_bytes() for file in sorted(files))


def test_what_is_deleted_is_gone_from_the_files(address):
    """Both ways of asking: the bytes of vectors, thumbnails, pictures and names; nothing of those who stay is lost."""
    import base64

    random = np.random.default_rng(0)
    mark = ModelMark("walkers", "a" * 64, 64)

    def person(number: int) -> list[NewPicture]:
        vectors = random.normal(size=(2, 64))
        return [
            NewPicture((v / np.linalg.norm(v)).astype(np.float32), "c", NOON, random.bytes(1500), random.bytes(5000), random.bytes(32))
            for v in vectors
        ]

    def traces(name: str, pictures: list[NewPicture]) -> list[bytes]:
        found = [name.encode()]
        for one in pictures:
            found += [np.asarray(one.vector).tobytes()[start : start + 32] for start in (0, 96)]
            for data in (one.thumbnail or b"", one.picture or b""):
                found += [data[600:640], data[-40:], base64.b64encode(data[600:645])]
            found += [one.digest or b"", (one.digest or b"").hex().encode()]
        return found

    with open_gallery(address, mark) as gallery:
        everyone = {f"Person-{number:03}-name": person(number) for number in range(24)}
        ids = {name: gallery.enrol(name, pictures).id for name, pictures in everyone.items()}
        there = content(address)
        for name, pictures in everyone.items():
            assert sum(trace in there for trace in traces(name, pictures)) >= 9, "or the search of the files would find nothing ever"
        gone = [f"Person-{number:03}-name" for number in (0, 5, 6, 7, 23)]
        for name in gone:
            gallery.delete(ids[name])
        gallery.rename(ids["Person-010-name"], "Anonymous")
        left = content(address)
        for name in gone:
            assert [trace for trace in traces(name, everyone[name]) if trace in left] == []
        assert b"Person-010-name" not in left and b"Anonymous" in left
        assert (gallery.people, gallery.pictures) == (19, 38)
        for name in set(everyone) - {*gone, "Person-010-name"}:
            kept = gallery.kept(ids[name])
            assert [gallery.picture(one.id) for one in kept] == [one.picture for one in everyone[name]]


# --- searching ---


def test_people_come_by_their_best_picture_once_each(gallery):
    gallery.enrol("Ada", [picture(1, 0.2, 0, 0, camera="1"), picture(1, 0.1, 0, 0, camera="2")])
    gallery.enrol("Bob", [picture(0, 1, 0, 0)])
    gallery.enrol("Cyn", [picture(1, 1, 0, 0)])
    hits = gallery.search(unit(1, 0, 0, 0))
    assert names(hits) == ["Ada", "Cyn", "Bob"] and hits[0].picture.camera == "2"
    assert [hit.similarity for hit in hits] == pytest.approx([1 / np.sqrt(1.01), np.sqrt(0.5), 0], abs=1e-6)
    assert names(gallery.search(unit(1, 0, 0, 0), top=1)) == ["Ada"]


def test_by_mean_people_come_by_the_cosine_with_the_mean_of_their_pictures(gallery):
    gallery.enrol("Ada", [picture(1, 0, 0, 0, camera="1"), picture(0, 1, 0, 0, camera="2")])
    gallery.enrol("Bob", [picture(0.9, 0, 1, 0, camera="2")])
    best, mean = (gallery.search(unit(1, 0, 0, 0), by=by) for by in ("best", "mean"))
    assert names(best) == ["Ada", "Bob"] and names(mean) == ["Ada", "Bob"]
    assert [hit.similarity for hit in mean] == pytest.approx([np.sqrt(0.5), 0.9 / np.sqrt(1.81)], abs=1e-6)
    assert mean[0].picture.camera == "1", "the picture most like what was looked for stands for the person"
    only_second = gallery.search(unit(1, 0, 0, 0), by="mean", cameras=["2"])
    assert names(only_second) == ["Bob", "Ada"] and only_second[1].similarity == pytest.approx(0, abs=1e-6)
    opposed = gallery.enrol("Eve", [picture(1, 0, 0, 0), picture(-1, 0, 0, 0)])
    assert {hit.person.id: hit.similarity for hit in gallery.search(unit(1, 0, 0, 0), by="mean")}[opposed.id] == pytest.approx(0)


def test_equal_people_come_in_the_order_of_enrolment(gallery):
    for name in ("first", "second", "third", "fourth"):
        gallery.enrol(name, [picture(1, 0, 0, 0)])
    for by in ("best", "mean"):
        assert names(gallery.search(unit(1, 0, 0, 0), by=by)) == ["first", "second", "third", "fourth"]


def test_only_pictures_that_pass_the_filters_count(gallery):
    gallery.enrol("Ada", [picture(1, 0, 0, 0, camera="1", time=NOON), picture(0, 1, 0, 0, camera='b"\\é', time=NOON + timedelta(hours=1))])
    gallery.enrol("Bob", [picture(0, 0, 1, 0)])
    query = unit(1, 1, 1, 0)

    def seen(**which):
        return [(hit.person.name, hit.picture.camera) for hit in gallery.search(query, **which)]

    assert seen(cameras=["1"]) == [("Ada", "1")]
    assert seen(cameras=['b"\\é', "nowhere"]) == [("Ada", 'b"\\é')]
    assert seen(cameras=["nowhere"]) == [] and seen(cameras=[]) == []
    assert seen(without_camera="1") == [("Ada", 'b"\\é'), ("Bob", None)]
    assert sorted(seen(without_camera="nowhere")) == [("Ada", "1"), ("Bob", None)]
    assert seen(since=NOON + timedelta(seconds=1)) == [("Ada", 'b"\\é')]
    assert seen(until=NOON + timedelta(seconds=1)) == [("Ada", "1")]
    assert seen(since=NOON, until=NOON) == [], "until is not reached"
    east = timezone(timedelta(hours=5))
    assert seen(since=NOON.astimezone(east), until=(NOON + timedelta(hours=1)).astimezone(east)) == [("Ada", "1")]
    assert gallery.search(query, by="mean", cameras=["nowhere"]) == []


def test_an_empty_gallery_finds_nobody(gallery):
    assert gallery.search(unit(1, 0, 0, 0)) == [] == gallery.search(unit(1, 0, 0, 0), by="mean")


def reference(people: list[np.ndarray], query: np.ndarray, by: str) -> list[float]:
    """The similarities, best first, by the definition."""
    best = [(vectors @ query).max() for vectors in people]
    mean = [vectors.mean(0) @ query / np.linalg.norm(vectors.mean(0)) for vectors in people]
    return sorted(best if by == "best" else mean, reverse=True)


def test_search_agrees_with_the_definition_on_clusters_before_and_after_deletions(address):
    random = np.random.default_rng(1)
    centres = random.normal(size=(60, 16))
    people = [centre + random.normal(size=(random.integers(1, 6), 16)) for centre in centres]
    people = [(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32) for vectors in people]
    with open_gallery(address, ModelMark("walkers", "a" * 64, 16)) as gallery:
        ids = [gallery.enrol(str(number), [NewPicture(v) for v in vectors]).id for number, vectors in enumerate(people)]
        left = dict(zip(ids, people, strict=True))
        for gone in (None, ids[3], ids[59]):
            if gone:
                gallery.delete(gone)
                del left[gone]
            for query in random.normal(size=(5, 16)):
                query = (query / np.linalg.norm(query)).astype(np.float32)
                for by in ("best", "mean"):
                    hits = gallery.search(query, top=7, by=by)
                    assert [hit.similarity for hit in hits] == pytest.approx(reference([*left.values()], query, by)[:7], abs=1e-5)
                    assert all(hit.person.pictures == len(left[hit.person.id]) for hit in hits)


# --- refusals ---


def test_another_networks_gallery_is_refused_and_says_what_to_do(address):
    open_gallery(address, MARK).close()
    with refused("other-model", "runners.*walkers.*re-embed"):
        open_gallery(address, OTHER)
    with open_gallery(address, None) as gallery:
        assert gallery.model == MARK
    with open_gallery(address, replace(MARK, name="the same file under another name")) as gallery:
        assert gallery.model == MARK


def test_a_gallery_that_is_not_there_is_made_only_for_a_network(address, tmp_path):
    with refused("unknown", "must exist"):
        open_gallery(address, None)
    assert [*tmp_path.iterdir()] == []
    with refused("invalid", "folder of a gallery must exist"):
        open_gallery(address.replace(str(tmp_path), str(tmp_path / "no" / "where")), MARK)


@pytest.mark.parametrize("name", ["", "   ", "a" * 121, "line\nbreak", "bell\a", "\u202egnp", "a\u2028b"])
def test_a_name_has_1_to_120_characters_and_no_control_characters(gallery, name):
    with refused("invalid", "A name must have"):
        gallery.enrol(name, [picture(1, 0, 0, 0)])
    assert gallery.people == 0


def test_names_of_any_script_are_kept_in_one_spelling(gallery):
    for name in ("李小龍", "Zoe\u0308", "O'Neil; DROP TABLE people --", 'quo"te\\', "👩‍🚀"):
        gallery.enrol(name, [picture(1, 0, 0, 0)])
    assert [person.name for person in gallery.list()] == ["李小龍", "Zoë", "O'Neil; DROP TABLE people --", 'quo"te\\', "👩‍🚀"]
    assert [person.name for person in gallery.list(like="ZOE\u0308")] == ["Zoë"]


@pytest.mark.parametrize(
    "wrong, match",
    [
        (NewPicture(np.ones(4, np.float32)), "length 1. Received: 2"),
        (NewPicture(np.zeros(4, np.float32)), "length 1. Received: 0"),
        (NewPicture(np.full(4, np.nan, np.float32)), "length 1. Received: nan"),
        (NewPicture(np.ones(1, np.float32)), r"4 numbers. Received: shape \(1,\)"),
        (picture(1, 0, 0, 0, camera=""), "camera's name must have 1 to 60"),
        (picture(1, 0, 0, 0, time=datetime(2026, 1, 1)), "must say its zone"),
        (picture(1, 0, 0, 0, digest=b"short"), "32 bytes"),
    ],
)
def test_a_wrong_picture_is_refused_and_nothing_of_its_person_is_kept(gallery, wrong, match):
    with refused("invalid", match):
        gallery.enrol("Ada", [picture(1, 0, 0, 0), wrong])
    with refused("invalid", "at least one picture"):
        gallery.enrol("Ada", [])
    assert (gallery.people, gallery.pictures) == (0, 0)


def test_a_wrong_question_is_refused(gallery):
    for which, match in (
        ({"top": 0}, "top"),
        ({"top": 1001}, "top"),
        ({"by": "worst"}, "best or mean"),
        ({"cameras": "12"}, "several names"),
    ):
        with refused("invalid", match):
            gallery.search(unit(1, 0, 0, 0), **which)
    with refused("invalid", "length 1"):
        gallery.search(np.ones(4, np.float32))
    with refused("invalid", "not be negative"):
        gallery.list(-1)
    for identity in ('" or 1 == 1', "", "0" * 33, "é"):
        with refused("unknown"):
            gallery.get(identity)
        with refused("unknown"):
            gallery.thumbnail(identity)


def test_quotas_hold(address):
    quota = Quota(people=2, pictures=5, pictures_per_person=3, name_bytes=8, thumbnail_bytes=10, picture_bytes=20)
    with open_gallery(address, MARK, quota) as gallery:
        ada = gallery.enrol("Ada", [picture(1, 0, 0, 0)] * 3)
        for name, pictures, person, match in (
            ("Bob", [picture(1, 0, 0, 0)] * 4, None, "at most 3 pictures"),
            ("", [picture(1, 0, 0, 0)], ada.id, "at most 3 pictures"),
            ("李小龍", [picture(1, 0, 0, 0)], None, "at most 8 bytes. Received: 9"),
            ("Bob", [picture(1, 0, 0, 0, thumbnail=b"x" * 11)], None, "thumbnail must have 1 to 10 bytes"),
            ("Bob", [picture(1, 0, 0, 0, picture=b"x" * 21)], None, "picture must have 1 to 20 bytes"),
        ):
            with refused("quota", match):
                gallery.enrol(name, pictures, person)
        bob = gallery.enrol("Bob", [picture(1, 0, 0, 0)])
        with refused("quota", "at most 2 people"):
            gallery.enrol("Cyn", [picture(1, 0, 0, 0)])
        gallery.enrol("", [picture(1, 0, 0, 0)], bob.id)
        with refused("quota", "at most 5 pictures"):
            gallery.enrol("", [picture(1, 0, 0, 0)], bob.id)
        gallery.delete(ada.id)
        gallery.enrol("Cyn", [picture(1, 0, 0, 0)] * 3)
        assert (gallery.people, gallery.pictures) == (2, 5)


def test_a_closed_gallery_says_so(gallery):
    gallery.close()
    for ask in (lambda: gallery.people, lambda: gallery.search(unit(1, 0, 0, 0)), lambda: gallery.enrol("Ada", [picture(1, 0, 0, 0)])):
        with refused("invalid", "must be open"):
            ask()
    gallery.close()


# --- another network's vectors, made from the kept pictures ---


def three_numbers(pictures) -> np.ndarray:
    """The new network: the first byte says which axis."""
    return np.eye(3, dtype=np.float32)[[data[0] for data in pictures]]


def test_re_embed_makes_every_vector_anew(address):
    with open_gallery(address, MARK) as gallery:
        for number in range(100):
            gallery.enrol(str(number), [picture(1, 0, 0, 0, picture=bytes([number % 3, number]), thumbnail=b"t", camera="1", time=NOON)])
        before = [gallery.kept(person.id) for person in gallery.list()]
        assert gallery.re_embed(three_numbers, OTHER) == 100
        assert gallery.model == OTHER and [gallery.kept(person.id) for person in gallery.list()] == before
        hits = gallery.search(unit(0, 1, 0), top=40)
        assert [hit.person.name for hit in hits if hit.similarity > 0.5] == [str(number) for number in range(1, 100, 3)]
        with refused("invalid", "3 numbers"):
            gallery.search(unit(1, 0, 0, 0))
    with refused("other-model"):
        open_gallery(address, MARK)
    with open_gallery(address, OTHER) as gallery:
        assert len(gallery.search(unit(0, 0, 1), cameras=["1"], since=NOON, by="mean")) == 10


def test_re_embed_that_stops_leaves_the_old_vectors_and_goes_on_where_it_was(address):
    embedded: list[bytes] = []

    def failing(pictures):
        if len(embedded) >= 128:
            raise ZeroDivisionError("the power went")
        embedded.extend(pictures)
        return three_numbers(pictures)

    def counting(pictures):
        embedded.extend(pictures)
        return three_numbers(pictures)

    with open_gallery(address, MARK) as gallery:
        for number in range(0, 200, 50):
            gallery.enrol(str(number), [picture(1, 0, 0, 0, picture=bytes([n % 3, number + n])) for n in range(50)])
        with pytest.raises(ZeroDivisionError):
            gallery.re_embed(failing, OTHER)
        assert gallery.model == MARK and gallery.search(unit(1, 0, 0, 0))[0].similarity == pytest.approx(1)
    with open_gallery(address, MARK) as gallery:
        assert gallery.re_embed(counting, OTHER) == 200
        assert len(embedded) == 200 == len(set(embedded)), "no picture is embedded twice"
        assert gallery.search(unit(0, 0, 1))[0].similarity == pytest.approx(1)


def test_re_embed_needs_every_picture_and_right_vectors(gallery):
    gallery.enrol("Ada", [picture(1, 0, 0, 0, picture=b"\0"), picture(1, 0, 0, 0)])
    with refused("invalid", "1 of which only the vector"):
        gallery.re_embed(three_numbers, OTHER)
    gallery.delete_picture(gallery.kept(gallery.list()[0].id)[1].id)
    with refused("invalid", "3 numbers"):
        gallery.re_embed(lambda pictures: np.eye(4, dtype=np.float32)[: len(pictures)], OTHER)
    with refused("invalid", "must get a vector"):
        gallery.re_embed(lambda pictures: np.eye(3, dtype=np.float32), OTHER)
    assert gallery.model == MARK and names(gallery.search(unit(1, 0, 0, 0))) == ["Ada"]


# --- export ---


def test_the_export_holds_every_picture(gallery, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    gallery.enrol("Ada", [picture(1, 2, 0, 0, camera="1", time=NOON), picture(0, 1, 0, 0)])
    gallery.enrol("Bob", [picture(0, 0, 0, 1)])
    file = tmp_path / "people.parquet"
    file.write_bytes(b"an older export")
    assert gallery.export(file) == 3
    table = parquet.read_table(file)
    assert table.schema.metadata[b"model_sha256"] == b"a" * 64
    rows = {row["picture"]: row for row in table.to_pylist()}
    for person in gallery.list():
        for kept in gallery.kept(person.id):
            row = rows.pop(kept.id)
            assert (row["person"], row["name"], row["camera"], row["time"]) == (person.id, person.name, kept.camera, kept.time)
            assert row["added"] == person.added and np.linalg.norm(row["vector"]) == pytest.approx(1)
    assert rows == {} and file.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    with refused("read-only"):
        gallery.export(tmp_path / "no" / "people.parquet")


def test_an_empty_gallery_is_exported(gallery, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert gallery.export(tmp_path / "x.parquet") == 0 and parquet.read_table(tmp_path / "x.parquet").num_rows == 0


# --- several threads ---


def test_threads_enrol_search_and_delete_at_once(address):
    """Whoever is enrolled is found at once, whoever is deleted never again, by any thread."""
    random = np.random.default_rng(2)
    vectors = random.normal(size=(4, 6, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    problems: list[str] = []
    stop = threading.Event()

    with open_gallery(address, ModelMark("walkers", "a" * 64, 32)) as gallery:

        def keep(thread: int) -> None:
            for number, vector in enumerate(vectors[thread]):
                person = gallery.enrol(f"{thread}-{number}", [NewPicture(vector)] * 2)
                if gallery.search(vector, top=1)[0].person != person:
                    problems.append(f"{person.name} was not found")
                if number % 3 == 0:
                    gallery.delete(person.id)
                    if person.id in [hit.person.id for hit in gallery.search(vector, top=3)]:
                        problems.append(f"{person.name} was found after the deletion")

        def look() -> None:
            while not stop.is_set():
                hits = gallery.search(vectors[0, 0], by="mean")
                if [hit.similarity for hit in hits] != sorted((hit.similarity for hit in hits), reverse=True):
                    problems.append("out of order")

        with ThreadPoolExecutor(6) as pool:
            lookers = [pool.submit(look) for _ in range(2)]
            try:
                for done in [pool.submit(keep, thread) for thread in range(4)]:
                    done.result()
            finally:
                stop.set()
            for done in lookers:
                done.result()
        assert problems == [] and (gallery.people, gallery.pictures) == (16, 32)
        assert len(gallery.search(vectors[0, 1], top=100)) == 16
