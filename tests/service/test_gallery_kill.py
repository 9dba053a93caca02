"""kill -9 while a real process enrols: whoever it was told is kept is there, whole, in both stores; the file goes on as if nothing was.

Each person has two pictures with vectors and thumbnails that follow from the person's number, so that the parent can check every byte.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from apps.gallery import Gallery, ModelMark, NewPicture, Quota, open_gallery

ROOT = Path(__file__).resolve().parents[2]
MARK = ModelMark("walkers", "a" * 64, 64)
QUOTA = Quota(people=100_000, pictures=200_000)
ADDRESS = {"sqlite": "{}/people.gallery", "milvus": "milvus:{}/people"}


def pictures_of(number: int) -> list[NewPicture]:
    random = np.random.default_rng(number)
    vectors = random.normal(size=(2, MARK.dimensions))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return [NewPicture(vector, camera=str(camera), thumbnail=random.bytes(900)) for camera, vector in enumerate(vectors)]


def enrol_for_ever(address: str, first: int) -> None:
    """The child: a line in the pipe for each person, after the store said that it is kept."""
    with open_gallery(address, MARK, QUOTA) as gallery:
        number = first
        while True:
            gallery.enrol(f"person {number}", pictures_of(number))
            os.write(1, b"%d\n" % number)
            number += 1


def start(address: str, first: int) -> subprocess.Popen[bytes]:
    code = f"from tests.service.test_gallery_kill import enrol_for_ever; enrol_for_ever({address!r}, {first})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)


def kill_after(child: subprocess.Popen[bytes], acknowledged: int, seconds: float) -> list[int]:
    """The numbers it told before it died: everything in the pipe, also what was written after the signal was sent."""
    told = []
    with child:
        for line in child.stdout or ():
            told.append(int(line))
            if len(told) == acknowledged:
                time.sleep(seconds)
                child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    return told


def check_kept(gallery: Gallery, told: list[int], kills: int) -> None:
    people = {person.name: person for person in gallery.list(limit=100_000)}
    missing = [number for number in told if f"person {number}" not in people]
    assert missing == [], f"{len(missing)} of {len(told)} that were acknowledged are lost"
    assert len(people) <= len(told) + kills, "one more at each kill may have been kept whose acknowledgement never came"
    assert {person.pictures for person in people.values()} == {2}, "nobody is kept by half"
    assert (gallery.people, gallery.pictures) == (len(people), 2 * len(people))
    for number in [*told[:3], *told[:: len(told) // 20], *told[-3:]]:
        person, expected = people[f"person {number}"], pictures_of(number)
        assert [gallery.thumbnail(kept.id) for kept in gallery.kept(person.id)] == [one.thumbnail for one in expected]
        hit = gallery.search(expected[1].vector, top=1)[0]
        assert hit.person == person and hit.similarity == pytest.approx(1, abs=1e-5) and hit.picture.camera == "1"


@pytest.mark.parametrize(
    "store, people, kills",
    [
        ("sqlite", 300, 2),
        pytest.param("sqlite", 5000, 10, marks=pytest.mark.slow),
        pytest.param("milvus", 5000, 10, marks=pytest.mark.slow),
    ],
)
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(store, people, kills, tmp_path):
    """A kill after another number of people and another fraction of an enrolment each time; then a new process goes on with the file."""
    if store == "milvus":
        pytest.importorskip("milvus_lite")
    address, random = ADDRESS[store].format(tmp_path), np.random.default_rng(0)
    told: list[int] = []
    for _ in range(kills):
        first = told[-1] + 2 if told else 0  # the one between may have been kept without an acknowledgement
        told += kill_after(start(address, first), people // kills, float(random.uniform(0, 0.02)))
    assert len(told) >= people
    with open_gallery(address, MARK, QUOTA) as gallery:
        check_kept(gallery, told, kills)
        newest = gallery.enrol("afterwards", pictures_of(10**6))
        assert gallery.search(pictures_of(10**6)[0].vector, top=1)[0].person == newest
