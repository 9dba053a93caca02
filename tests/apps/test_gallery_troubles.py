"""A gallery in trouble: full disk, read-only folder, damaged files, other processes. Each is told in a sentence, and the rest goes on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps.gallery import GalleryError, ModelMark, NewPicture, open_gallery

ROOT = Path(__file__).resolve().parents[2]
MARK = ModelMark("walkers", "a" * 64, 64)
AXES = np.eye(64, dtype=np.float32)
ADDRESS = {"sqlite": "{}/people.gallery", "milvus": "milvus:{}/people"}


@pytest.fixture(params=["sqlite", "milvus"])
def address(request, tmp_path) -> str:
    if request.param == "milvus":
        pytest.importorskip("milvus_lite")
    return ADDRESS[request.param].format(tmp_path)


@pytest.fixture
def path(tmp_path) -> Path:
    """An SQLite gallery of 40 people, closed."""
    path = tmp_path / "people.gallery"
    with open_gallery(path, MARK) as gallery:
        for number in range(40):
            gallery.enrol(f"person {number}", [NewPicture(AXES[number], thumbnail=bytes(2000))])
    return path


def refused(reason: str, match: str = "Received"):
    return pytest.raises(GalleryError, match=match, check=lambda error: error.reason == reason)


def run(code: str, *words: str) -> str:
    """Another process; what it prints."""
    start = "import os, resource, sys\nimport numpy as np\nfrom apps.gallery import *\n"
    start += "MARK, AXES = ModelMark('walkers', 'a' * 64, 64), np.eye(64, dtype=np.float32)\n"
    done = subprocess.run([sys.executable, "-c", start + code, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- the disk ---


def test_a_full_disk_is_a_sentence_and_what_is_there_is_found(address):
    """The limit on the size of a file stands for the disk's end; without it enrolments go on, in Milvus Lite after opening anew."""
    told = run(
        """
address, kept = sys.argv[1], 0
gallery = open_gallery(address, MARK)
gallery.enrol("first", [NewPicture(AXES[0])])
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
problems = []
for number in range(200):
    try:
        gallery.enrol(f"person {number}", [NewPicture(AXES[1], thumbnail=os.urandom(30_000))])
        kept += 1
    except GalleryError as problem:
        problems.append(problem)
print({problem.reason for problem in problems}, str(problems[0]).count("\\n"), 0 < kept < 200)
print(problems[0])
print(gallery.search(AXES[0])[0].person.name, gallery.people == kept + 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if address.startswith("milvus"):
    gallery.close()
    gallery = open_gallery(address, MARK)
gallery.enrol("after", [NewPicture(AXES[2])])
print(gallery.search(AXES[2])[0].person.name, gallery.people == kept + 2)
gallery.close()
with open_gallery(address, MARK) as gallery:
    print(gallery.people == kept + 2)
""",
        address,
    ).splitlines()
    assert told[0] == "{'full'} 0 True" and "must have room" in told[1]
    assert told[2:] == ["first True", "after True", "True"]


READ_ONLY = """
import apps.gallery.sqlite
try:
    import pymilvus, milvus_lite.adapter.grpc.server, apps.gallery.milvus
except ImportError:
    pass
if os.getuid() == 0:
    os.setuid(65534)
try:
    gallery = open_gallery(sys.argv[1], MARK)
    gallery.enrol("new", [NewPicture(AXES[1])])
    print("it was written")
except GalleryError as problem:
    print(problem.reason, str(problem))
"""


def test_a_read_only_folder_is_a_sentence(tmp_path, request):
    """Root may write anywhere: once everything is imported it becomes nobody."""
    open_to_all(tmp_path)
    folder = tmp_path / "shut"
    folder.mkdir()
    with open_gallery(folder / "people.gallery", MARK) as gallery:
        gallery.enrol("Ada", [NewPicture(AXES[0])])
    (folder / "people.gallery").chmod(0o444)
    folder.chmod(0o555)
    request.addfinalizer(lambda: folder.chmod(0o755))
    for name in ("people.gallery", "new.gallery"):
        assert run(READ_ONLY, str(folder / name)).startswith("read-only The"), name
    milvus = run(READ_ONLY, f"milvus:{folder}/people")
    assert milvus.startswith(("read-only The", "invalid A gallery in Milvus must have its packages"))


def open_to_all(folder: Path) -> None:
    """pytest's own folders are their owner's alone."""
    for parent in [folder, *folder.parents]:
        if parent.owner() == folder.owner() and parent != Path("/tmp") and len(parent.parts) > 2:
            parent.chmod(parent.stat().st_mode | 0o055)


# --- what is no gallery ---


def test_what_is_no_gallery_is_refused_and_left_as_it_is(tmp_path):
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    text = tmp_path / "letter.txt"
    text.write_text("Dear gallery, " * 1000)
    for file, reason, match in (
        (other, "invalid", "another program's"),
        (text, "corrupt", "whole gallery"),
        (tmp_path, "invalid", "a folder"),
    ):
        before = file.read_bytes() if file.is_file() else b""
        with refused(reason, match):
            open_gallery(file, MARK)
        assert not file.is_file() or file.read_bytes()[100:] == before[100:]


def test_a_gallery_of_a_later_version_is_refused(path):
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with refused("invalid", "version 99"):
        open_gallery(path, MARK)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.05])
def test_a_file_cut_short_is_refused(path, keep):
    os.truncate(path, int(path.stat().st_size * keep))
    with refused("corrupt", "whole gallery"):
        open_gallery(path, MARK)


@pytest.mark.parametrize("page", range(1, 12))
def test_a_page_written_over_is_refused(path, page):
    data = bytearray(path.read_bytes())
    data[4096 * page : 4096 * page + 4096] = np.random.default_rng(page).bytes(4096)
    path.write_bytes(data)
    with refused("corrupt", "whole gallery"):
        open_gallery(path, MARK)


def test_damage_that_comes_while_it_is_open_is_a_sentence(path):
    with open_gallery(path, MARK) as gallery:
        os.truncate(path, 4096)
        with refused("corrupt"):
            for person in gallery.list(limit=40):
                gallery.thumbnail(gallery.kept(person.id)[0].id)


def test_a_damaged_folder_of_milvus_is_a_sentence(tmp_path):
    pytest.importorskip("milvus_lite")
    address = f"milvus:{tmp_path}/people"
    with open_gallery(address, MARK) as gallery:
        gallery.enrol("Ada", [NewPicture(AXES[0])])
    for file in (tmp_path / "people").rglob("manifest.json"):
        file.write_text("no json")
    for file in (tmp_path / "people").rglob("schema.json"):
        file.write_text("no json")
    with refused("corrupt", "whole gallery"):
        open_gallery(address, MARK)
    (tmp_path / "file").write_text("x")
    with refused("invalid"):
        open_gallery(f"milvus:{tmp_path}/file", MARK)


# --- other processes ---


def test_two_processes_see_what_each_other_does(path):
    with open_gallery(path, MARK) as gallery:
        assert len(gallery.search(AXES[50], top=100)) == 40
        enrol = "with open_gallery(sys.argv[1], MARK) as g: print(g.enrol('other', [NewPicture(AXES[50], camera='9')]).id)"
        other = run(enrol, str(path)).strip()
        hit = gallery.search(AXES[50], cameras=["9"])[0]
        assert (hit.person.id, hit.person.name, hit.similarity) == (other, "other", 1)
        run("with open_gallery(sys.argv[1], MARK) as g: g.delete(sys.argv[2])", str(path), other)
        assert "other" not in [hit.person.name for hit in gallery.search(AXES[50], top=100)] and gallery.people == 40


def test_two_processes_enrol_at_once_and_nobody_is_lost(tmp_path):
    path = tmp_path / "people.gallery"
    code = """
with open_gallery(sys.argv[1], MARK) as gallery:
    for number in range(60):
        person = gallery.enrol(f"{sys.argv[2]} {number}", [NewPicture(AXES[number])])
        assert person in [hit.person for hit in gallery.search(AXES[number], top=5)]
        if number % 5 == 0:
            gallery.delete(person.id)
"""
    command = [sys.executable, "-c", "import sys\nimport numpy as np\nfrom apps.gallery import *\n"]
    command[2] += "MARK, AXES = ModelMark('walkers', 'a' * 64, 64), np.eye(64, dtype=np.float32)\n" + code
    children = [subprocess.Popen([*command, str(path), name], cwd=ROOT, stderr=subprocess.PIPE) for name in ("left", "right")]
    assert [child.communicate(timeout=120)[1].decode() for child in children] == ["", ""]
    with open_gallery(path, MARK) as gallery:
        expected = sorted(f"{name} {number}" for name in ("left", "right") for number in range(60) if number % 5)
        assert sorted(person.name for person in gallery.list(limit=1000)) == expected
        assert len(gallery.search(AXES[0], top=1000)) == 96


def test_a_network_exchanged_by_another_process_is_noticed(tmp_path):
    path = tmp_path / "people.gallery"
    with open_gallery(path, MARK) as gallery:
        gallery.enrol("Ada", [NewPicture(AXES[0], picture=b"x")])
        gallery.search(AXES[0])
        renew = "g.re_embed(lambda p: np.eye(3, dtype=np.float32)[: len(p)], ModelMark('new', 'c' * 64, 3))"
        run(f"with open_gallery(sys.argv[1], MARK) as g: {renew}", str(path))
        for ask in (lambda: gallery.search(AXES[0]), lambda: gallery.enrol("Bob", [NewPicture(AXES[1])])):
            with refused("other-model", "walkers.*new.*re-embed"):
                ask()
        assert [person.name for person in gallery.list()] == ["Ada"]


def test_a_process_that_holds_the_file_too_long_is_a_sentence(path, monkeypatch):
    monkeypatch.setattr("apps.gallery.sqlite.WAIT_SECONDS", 0.2)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(GalleryError, match="let go of the gallery") as problem:
            open_gallery(path, MARK)
        assert problem.value.reason == "locked"
    finally:
        holder.close()
    open_gallery(path, MARK).close()


def test_a_reader_elsewhere_delays_the_wiping_but_not_the_deletion(path, monkeypatch):
    monkeypatch.setattr("apps.gallery.sqlite.ERASE_SECONDS", 0.05)
    secret = np.random.default_rng(0).bytes(2000)
    reader = sqlite3.connect(path, isolation_level=None)
    try:
        with open_gallery(path, MARK) as gallery:
            ada = gallery.enrol("Ada", [NewPicture(AXES[60], thumbnail=secret)])
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM people").fetchall()
            gallery.delete(ada.id)
            assert gallery.search(AXES[60])[0].person.name != "Ada"
            reader.execute("COMMIT")
            gallery.enrol("Bob", [NewPicture(AXES[61])])
            files = b"".join(file.read_bytes() for file in path.parent.glob("people.gallery*"))
            assert secret[100:160] not in files
    finally:
        reader.close()


def test_milvus_lite_is_one_processes(tmp_path):
    pytest.importorskip("milvus_lite")
    address = f"milvus:{tmp_path}/people"
    with open_gallery(address, MARK):
        code = """
try:
    open_gallery(sys.argv[1], MARK)
except GalleryError as problem:
    print(problem.reason, problem)
"""
        told = run(code, address)
        assert told.startswith("locked One process at a time") and told.count("\n") == 1
        with refused("locked"):
            open_gallery(address, MARK)
    open_gallery(address, MARK).close()


def test_addresses_of_milvus_are_checked():
    pytest.importorskip("pymilvus")
    for wrong in ("milvus:", "milvus:x?index=ivf", "milvus:x?y"):
        with refused("invalid", "must be like milvus:FOLDER"):
            open_gallery(wrong, MARK)


def test_a_cluster_that_does_not_answer_is_a_sentence(monkeypatch):
    pytest.importorskip("pymilvus")
    monkeypatch.setattr("apps.gallery.milvus.CONNECT_SECONDS", 1)
    with refused("locked", "Milvus must answer"):
        open_gallery("milvus:http://127.0.0.1:1", MARK)


def test_a_new_gallery_is_its_owners_alone(tmp_path):
    with open_gallery(tmp_path / "people.gallery", MARK) as gallery:
        gallery.enrol("Ada", [NewPicture(AXES[0])])
        assert [file.name for file in tmp_path.iterdir() if file.stat().st_mode & 0o077] == []


def test_milvus_without_its_packages_is_a_sentence(monkeypatch, tmp_path):
    for package in ("pymilvus", "milvus_lite", "milvus_lite.adapter.grpc.server"):
        monkeypatch.setitem(sys.modules, package, None)
    with refused("invalid", "pip install pymilvus"):
        open_gallery(f"milvus:{tmp_path}/people", MARK)
