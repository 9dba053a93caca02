"""POST /api/match and /api/gallery over the shipped network: find, enrol, rename, delete, and a sentence for whatever cannot be."""

import io
import json
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from apps import people, ranked, verdict
from apps.engine import Engine
from apps.galleries import Galleries, fill, without_folders
from apps.gallery import GalleryError, ModelMark, open_gallery
from apps.library import Library
from apps.life import Life
from apps.matches import Matcher
from apps.metrics import Metrics
from apps.repository import Repository
from apps.server import add_errors, add_health
from apps.settings import Settings
from tests.service.bundles import other_version

ROOT = Path(__file__).resolve().parents[2]
NAME = "pedestrians-reid"
BUNDLE = ROOT / "saved_models" / NAME
CARD = json.loads((BUNDLE / "card.json").read_text())
ADA, OTHER = "0807", "0774"  # of gallery.zip: Ada is as like her third picture as 0.88, and everybody else less than 0.52


def photos(person: str) -> list[bytes]:
    """The person's pictures, each by another camera."""
    with zipfile.ZipFile(BUNDLE / "gallery.zip") as archive:
        return [archive.read(name) for name in archive.namelist() if name.startswith(person)]


def example(start: str) -> bytes:
    return next((BUNDLE / "examples").glob(f"{start}*.png")).read_bytes()


@dataclass
class Desk:
    """A server's routes for people, in this process."""

    client: TestClient
    galleries: Galleries
    repository: Repository
    engine: Engine

    def enrol(self, name: str, pictures: list[bytes], **fields: str):
        given = {"name": name, "consent": "true", "camera": "1", **fields}
        files = [("image", (f"{number}.jpg", data, "image/jpeg")) for number, data in enumerate(pictures)]
        return self.client.post("/api/gallery", data={key: value for key, value in given.items() if value}, files=files)

    def match(self, picture: bytes, **query):
        return self.client.post("/api/match", params=query, files={"image": ("a.jpg", picture)})

    def counts(self) -> tuple[int, int]:
        told = self.client.get("/api/gallery").json()
        return told["people"], told["pictures"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved_models")
    shutil.copytree(BUNDLE, folder / NAME)
    return folder


@pytest.fixture
def make_desk(bundles):
    """make_desk(**settings) -> Desk"""
    made: list[Desk] = []

    def make(folder: Path = bundles, **options) -> Desk:
        settings = Settings(bundles=folder, **options)
        metrics, engine = Metrics(), Engine(2, 8, 60.0)
        repository = Repository(folder, 1, metrics)
        repository.load_all()
        galleries, life = Galleries(repository, settings), Life()
        life.state = "ready"
        app = FastAPI()
        add_errors(app)
        add_health(app, repository, galleries, life)
        app.include_router(people.router(Matcher(Library(repository, engine), galleries), engine))
        made.append(Desk(TestClient(app), galleries, repository, engine))
        return made[-1]

    yield make
    for desk in made:
        desk.client.close()
        desk.engine.close()
        desk.galleries.close()


@pytest.fixture
def desk(make_desk, tmp_path) -> Desk:
    return make_desk(gallery=str(tmp_path / "people.gallery"))


# --- find ---


def test_two_pictures_are_enrolled_a_third_by_another_camera_finds_the_person_who_is_deleted_and_found_no_more(desk):
    *first, third = photos(ADA)
    assert desk.enrol("Somebody else", photos(OTHER)).status_code == 201
    answer = desk.enrol("Ada", first)
    assert answer.status_code == 201
    ada = answer.json()
    assert ada["name"] == "Ada" and ada["pictures"] == 2 and ada["added"].endswith("Z")
    found = desk.match(third).json()
    assert found["model"] == NAME and found["match"] is True and found["threshold"] == pytest.approx(0.728, abs=1e-3)
    assert [(one["name"], one["match"]) for one in found["people"]] == [("Ada", True), ("Somebody else", False)]
    assert found["people"][0]["similarity"] == pytest.approx(0.883, abs=2e-3) and found["people"][0]["camera"] == "1"
    assert desk.client.delete(f"/api/gallery/{ada['id']}").status_code == 204
    found = desk.match(third).json()
    assert found["match"] is False and [one["name"] for one in found["people"]] == ["Somebody else"]
    assert desk.counts() == (1, 3)


def test_the_vectors_never_leave(desk):
    desk.enrol("Ada", photos(ADA)[:2])
    person = desk.client.get("/api/gallery").json()["found"][0]["id"]
    for answer in (desk.match(photos(ADA)[2]), desk.client.get("/api/gallery"), desk.client.get(f"/api/gallery/{person}")):
        assert "vector" not in answer.text and "embedding" not in answer.text
        assert not re.search(r"\[\s*-?\d+\.\d+\s*,", answer.text)


def test_the_demo_knows_200_drawn_people_and_an_example_by_another_camera_finds_one(make_desk):
    demo = make_desk()
    assert demo.galleries.states() == {NAME: "not opened"}
    found = demo.match(example("id701"), top=3).json()
    assert [one["name"] for one in found["people"]][0] == "0701" and len(found["people"]) == 3 and found["match"] is True
    assert demo.counts() == (200, CARD["reid"]["demo"]["pictures"])
    assert demo.match(example("stranger-id703"), top=1).json()["match"] is False
    folder = Path(demo.galleries._folder.name)  # type: ignore[union-attr]
    assert folder.is_dir() and demo.galleries.states() == {NAME: "ready"}
    demo.galleries.close()
    assert not folder.exists()


def test_cameras_times_and_the_mean_narrow_the_search(desk):
    first, second, third = photos(ADA)
    desk.enrol("Early", [first], camera="hall", time="2026-01-01T08:00:00Z")
    desk.enrol("Late", [second], camera="door", time="2026-01-01T12:00:00+01:00")
    names = lambda **query: sorted(one["name"] for one in desk.match(third, **query).json()["people"])  # noqa: E731
    assert names() == ["Early", "Late"]
    assert names(camera="hall") == ["Early"] and names(camera=["hall", "door"]) == ["Early", "Late"] and names(camera="roof") == []
    assert names(without_camera="hall") == ["Late"]
    assert names(since="2026-01-01T09:00:00Z") == ["Late"] and names(until="2026-01-01T09:00:00Z") == ["Early"]
    desk.enrol("Both", [first, second])
    best, mean = (
        next(one["similarity"] for one in desk.match(third, by=by).json()["people"] if one["name"] == "Both") for by in ("best", "mean")
    )
    assert best != mean
    assert desk.match(third, threshold=0.99).json()["match"] is False and desk.match(third, threshold=-1).json()["match"] is True


WRONG = {
    "top=0": "top must be greater than or equal to 1. Received: 0",
    "by=worst": "by must be 'best' or 'mean'. Received: worst",
    "threshold=2": "threshold must be less than or equal to 1. Received: 2",
    "since=yesterday": "since must be a time with its zone, such as 2026-01-31T08:00:00Z. Received: yesterday",
    "until=2026-01-01T08:00:00": "until must be a time with its zone",
}


@pytest.mark.parametrize("query", WRONG)
def test_a_search_that_cannot_be_is_a_sentence(desk, query):
    answer = desk.client.post(f"/api/match?{query}", content=photos(ADA)[0])
    assert answer.status_code == 400 and WRONG[query] in answer.json()["error"]


def test_a_search_in_an_empty_gallery_finds_nobody(desk):
    assert desk.match(photos(ADA)[0]).json() | {"threshold": 0} == {"model": NAME, "threshold": 0, "match": False, "people": []}


def test_a_picture_that_is_none_is_a_sentence(desk):
    assert desk.match(b"text").status_code == 415 and "not a picture" in desk.match(b"text").json()["error"]
    assert desk.client.post("/api/match?model=nobody", content=b"x").status_code == 404


# --- enrol ---


BAD_FORMS: dict[str, tuple[Callable, int, str]] = {
    "no consent": (lambda desk, one: desk.enrol("Ada", [one], consent=""), 400, "consent=true must say that the person"),
    "another word for it": (lambda desk, one: desk.enrol("Ada", [one], consent="yes"), 400, "consent=true must say"),
    "no picture": (
        lambda desk, one: desk.client.post("/api/gallery", files={"name": (None, "A"), "consent": (None, "true")}),
        422,
        "one to",
    ),
    "an empty picture": (lambda desk, one: desk.enrol("Ada", [b""]), 400, "A picture is empty."),
    "six pictures": (lambda desk, one: desk.enrol("Ada", [one] * 6), 400, "Too many files"),
    "no picture at all among two": (lambda desk, one: desk.enrol("Ada", [one, b"text"]), 415, "not a picture"),
    "a text for a picture": (
        lambda desk, one: desk.client.post("/api/gallery", files={"image": (None, "x"), "consent": (None, "true")}),
        422,
        "file",
    ),
    "no name": (lambda desk, one: desk.enrol("", [one]), 400, "Give the name of a new person, or the id"),
    "a name and a person": (lambda desk, one: desk.enrol("Ada", [one], person="0" * 32), 400, "one of the two"),
    "nobody's id": (lambda desk, one: desk.enrol("", [one], person="0" * 32), 404, "person"),
    "a name of signs": (lambda desk, one: desk.enrol("A\x07da", [one]), 400, "no control characters"),
    "a long name": (lambda desk, one: desk.enrol("A" * 121, [one]), 400, "1 to 120 characters"),
    "a time without its zone": (lambda desk, one: desk.enrol("Ada", [one], time="2026-01-01T08:00"), 400, "time with its zone"),
    "no form": (lambda desk, one: desk.client.post("/api/gallery", content=one), 415, "multipart/form-data"),
}


@pytest.mark.parametrize("kind", BAD_FORMS)
def test_an_enrolment_that_cannot_be_keeps_nothing(desk, kind):
    send, status, sentence = BAD_FORMS[kind]
    answer = send(desk, photos(ADA)[0])
    assert answer.status_code == status and sentence in answer.json()["error"]
    assert desk.counts() == (0, 0)


def test_more_pictures_join_a_person_who_is_there(desk):
    first, second, third = photos(ADA)
    ada = desk.enrol("Ada", [first]).json()
    again = desk.enrol("", [second, third], person=ada["id"])
    assert again.status_code == 201 and again.json() == {**ada, "pictures": 3}


def test_quotas_are_held(make_desk, tmp_path):
    desk = make_desk(gallery=str(tmp_path / "people.gallery"), gallery_people=1, gallery_pictures=2)
    one = photos(ADA)[0]
    assert desk.enrol("Ada", [one]).status_code == 201
    answer = desk.enrol("Ben", [one])
    assert answer.status_code == 409 and "at most 1 people" in answer.json()["error"]
    ada = desk.client.get("/api/gallery").json()["found"][0]["id"]
    assert desk.enrol("", [one, one], person=ada).status_code == 409
    assert desk.counts() == (1, 1)


def test_fewer_drawn_people_come_where_the_owner_wants_fewer(make_desk):
    assert make_desk(gallery_people=5).counts()[0] == 5


def camera_photo() -> bytes:
    """As a phone makes one: large, and with the place in its EXIF."""
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "the-maker"
    exif.get_ifd(0x8825)[1] = "N"
    with Image.open(io.BytesIO(photos(ADA)[0])) as picture:
        picture.resize((900, 1800)).save(stream, "jpeg", exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("keep", [False, True])
def test_pictures_are_kept_only_where_the_owner_says_so_and_never_with_what_a_camera_writes_beside(make_desk, tmp_path, keep):
    desk = make_desk(gallery=str(tmp_path / "people.gallery"), keep_pictures=keep)
    assert b"the-maker" in camera_photo()
    ada = desk.enrol("Ada", [camera_photo()]).json()
    (kept,) = desk.client.get(f"/api/gallery/{ada['id']}").json()["kept"]
    assert kept["thumbnail"] is True and kept["camera"] == "1"
    small = desk.client.get(f"/api/gallery/{ada['id']}/pictures/{kept['id']}")
    assert small.headers["content-type"] == "image/jpeg" and small.headers["cache-control"] == "no-store"
    with Image.open(io.BytesIO(small.content)) as picture:
        assert picture.size == (128, 256) and not picture.getexif()
    whole = desk.galleries.of(NAME).picture(kept["id"])
    assert (whole is not None) == keep
    if whole:
        with Image.open(io.BytesIO(whole)) as picture:
            assert picture.size == (512, 1024) and not picture.getexif()
    assert b"the-maker" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


# --- look, rename, delete ---


def test_people_are_listed_in_turn_and_by_parts_of_their_names(desk):
    for name in ("Ada", "Ben", "Adele"):
        desk.enrol(name, photos(ADA)[:1])
    names = lambda **query: [one["name"] for one in desk.client.get("/api/gallery", params=query).json()["found"]]  # noqa: E731
    assert names() == ["Ada", "Ben", "Adele"] and names(offset=1, limit=1) == ["Ben"] and names(like="ad") == ["Ada", "Adele"]
    assert desk.client.get("/api/gallery?limit=1000").status_code == 400


def test_a_person_gets_another_name(desk):
    ada = desk.enrol("Ada", photos(ADA)[:1]).json()
    answer = desk.client.patch(f"/api/gallery/{ada['id']}", json={"name": " Augusta "})
    assert answer.status_code == 200 and answer.json() == {**ada, "name": "Augusta"}
    for body in (b"", b"{}", b'{"name": 1}', b"[" * 5000, b"\xff"):
        refused = desk.client.patch(f"/api/gallery/{ada['id']}", content=body)
        assert refused.status_code == 400 and '{"name": "..."}' in refused.json()["error"]
    assert desk.client.patch(f"/api/gallery/{ada['id']}", json={"name": ""}).status_code == 400
    assert desk.client.get(f"/api/gallery/{ada['id']}").json()["name"] == "Augusta"


def test_one_picture_is_deleted_but_not_the_last_nor_another_person_s(desk):
    ada, ben = (desk.enrol(name, photos(ADA)[:2]).json()["id"] for name in ("Ada", "Ben"))
    first, second = (one["id"] for one in desk.client.get(f"/api/gallery/{ada}").json()["kept"])
    assert desk.client.delete(f"/api/gallery/{ben}/pictures/{first}").status_code == 404
    assert desk.client.delete(f"/api/gallery/{ada}/pictures/{first}").status_code == 204
    last = desk.client.delete(f"/api/gallery/{ada}/pictures/{second}")
    assert last.status_code == 400 and "delete the person instead" in last.json()["error"]
    assert desk.client.get(f"/api/gallery/{ada}/pictures/{first}").status_code == 404


def test_nobody_s_id_is_404_in_a_sentence(desk):
    for method, path in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("GET", "/pictures/x"), ("DELETE", "/pictures/x")):
        answer = desk.client.request(method, f"/api/gallery/{'0' * 32}{path}", json={"name": "A"} if method == "PATCH" else None)
        assert answer.status_code == 404 and answer.json()["error"], (method, path)


# --- trouble ---


def test_a_gallery_that_is_none_is_a_sentence_and_readiness_says_so_while_the_rest_serves(make_desk, tmp_path):
    (tmp_path / "people.gallery").write_text("a shopping list, which is no gallery. " * 100)
    desk = make_desk(gallery=str(tmp_path / "people.gallery"))
    answer = desk.match(photos(ADA)[0])
    assert answer.status_code == 503 and "whole gallery" in answer.json()["error"]
    assert str(tmp_path) not in answer.text and "people.gallery" in answer.text
    ready = desk.client.get("/healthz/ready")
    assert ready.status_code == 503 and "whole gallery" in ready.json()["galleries"][NAME]
    assert desk.client.get("/healthz/live").status_code == 200 and ready.json()["bundles"] == [NAME]


def test_another_network_s_gallery_is_refused_in_a_sentence(make_desk, tmp_path):
    path = tmp_path / "people.gallery"
    open_gallery(path, ModelMark("older-reid", "0" * 64, 128)).close()
    answer = make_desk(gallery=str(path)).match(photos(ADA)[0])
    assert answer.status_code == 409 and "older-reid" in answer.json()["error"] and NAME in answer.json()["error"]


def test_a_full_disk_is_507_and_searching_goes_on(desk, monkeypatch):
    desk.enrol("Ada", photos(ADA)[:2])
    gallery = desk.galleries.of(NAME)

    def full(*given):
        raise GalleryError("The disk must have room for the gallery.", "full")

    monkeypatch.setattr(gallery, "enrol", full)
    answer = desk.enrol("Ben", photos(OTHER)[:1])
    assert answer.status_code == 507 and "room" in answer.json()["error"]
    assert desk.match(photos(ADA)[2]).json()["match"] is True and desk.client.get("/healthz/ready").status_code == 200


def test_a_gallery_that_breaks_while_it_serves_turns_readiness_red_until_it_works_again(desk, monkeypatch):
    gallery = desk.galleries.of(NAME)

    def corrupt(*given):
        raise GalleryError("The file must be a whole gallery.", "corrupt")

    with monkeypatch.context() as patch:
        patch.setattr(gallery, "search", corrupt)
        assert desk.match(photos(ADA)[0]).status_code == 503
        assert desk.client.get("/healthz/ready").status_code == 503
    assert desk.match(photos(ADA)[0]).status_code == 200
    assert desk.client.get("/healthz/ready").status_code == 200


def test_a_gallery_that_could_not_be_opened_is_tried_again_after_a_while(make_desk, tmp_path, monkeypatch):
    path = tmp_path / "people.gallery"
    path.write_text("nothing" * 500)
    desk = make_desk(gallery=str(path))
    assert desk.match(photos(ADA)[0]).status_code == 503
    path.unlink()
    assert desk.match(photos(ADA)[0]).status_code == 503  # not on every request
    now = time.monotonic()
    monkeypatch.setattr("apps.galleries.time.monotonic", lambda: now + 60)
    assert desk.match(photos(ADA)[0]).status_code == 200


def test_when_the_network_is_exchanged_its_demo_is_made_anew(make_desk, tmp_path):
    shutil.copytree(BUNDLE, tmp_path / "bundles" / NAME)
    desk = make_desk(tmp_path / "bundles", gallery_people=3)
    assert desk.counts()[0] == 3
    before = desk.galleries.of(NAME)
    other_version(BUNDLE, tmp_path / "new", NAME, 1.01, 0)
    shutil.rmtree(tmp_path / "bundles" / NAME)
    shutil.move(tmp_path / "new", tmp_path / "bundles" / NAME)
    desk.repository.reload()
    assert desk.counts()[0] == 3
    assert desk.galleries.of(NAME) is not before
    assert desk.galleries.of(NAME).model.sha256 != before.model.sha256


def test_a_server_that_stops_does_not_wait_for_the_drawn_people(make_desk):
    demo = make_desk()
    demo.galleries.stop()
    answer = demo.match(photos(ADA)[0])
    assert answer.status_code == 503 and "The server is stopping." in answer.json()["error"]


def test_filling_ends_between_two_batches(desk):
    asked = []

    def enough(done: int, all: int) -> None:
        asked.append((done, all))
        raise GalleryError("enough", "locked")

    with pytest.raises(GalleryError, match="enough"):
        fill(desk.galleries.of(NAME), desk.repository.get(NAME), enough)
    assert len(asked) == 1 and 0 < asked[0][0] < 50 < asked[0][1]


def test_sentences_for_strangers_do_not_say_where_files_lie():
    problem = GalleryError("It must be whole. Received: /var/lib/people/a.gallery, disk I/O error", "corrupt")
    assert str(without_folders(problem)) == "It must be whole. Received: a.gallery, disk I/O error"
    remote = GalleryError("It must answer. Received: http://10.0.0.1:19530", "locked")
    assert str(without_folders(remote)) == str(remote)


# --- the parts of the answer ---


def test_the_points_are_the_card_s_from_the_loosest_to_the_strictest():
    points = verdict.points(CARD)
    assert len(points) == 62 and all(
        a.similarity < b.similarity and a.far >= b.far and a.tpr >= b.tpr for a, b in zip(points, points[1:], strict=False)
    )
    assert [point.aim for point in verdict.calibrated(CARD)] == [0.01, 0.001]
    strict = CARD["reid"]["verification"]["thresholds"][1]
    default = verdict.default(CARD)
    assert default and (default.similarity, default.far, default.tpr) == (1 - strict["threshold"], strict["far"], strict["tpr"])


def test_a_card_without_a_curve_has_its_calibrated_points_and_one_without_both_decides_nothing():
    old = json.loads(json.dumps(CARD))
    del old["reid"]["verification"]["curve"]
    assert [point.aim for point in verdict.points(old)] == [0.01, 0.001]
    assert "FAR 1" in ranked.threshold_card(old)
    bare = {"reid": {"verification": {"problem": "no roles"}}}
    assert verdict.points(bare) == [] and verdict.default(bare) is None and "leaves the decision to you" in ranked.threshold_card(bare)


def test_the_name_of_an_example_tells_who_it_is():
    assert ranked.truth_of("id701-cam4-0.png") == ranked.Truth("0701", "4", True)
    assert ranked.truth_of("stranger-id1000-cam3-7.png") == ranked.Truth("1000", "3", False)
    assert ranked.truth_of("dog-3.png") is None
