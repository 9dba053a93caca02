"""python -m apps.gallery on the bundle that came with git: import in its three forms, search, rename, delete, export, re-embed."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.gallery import ModelMark, NewPicture, Quota, open_gallery
from apps.gallery.__main__ import main
from apps.gallery.importing import import_people, mark_of
from apps.gallery.sources import find_sources
from apps.runtime import load_bundle

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "saved_models" / "pedestrians-reid"


def jpeg(seed: int, size: tuple[int, int] = (32, 64), **options) -> bytes:
    """A pattern of large blocks, so that pictures differ to the network, too."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 4, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(BUNDLE)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two people with Market names, one with a folder, and what an import must tell of or pass over."""
    folder = tmp_path / "photos"
    (folder / "Ada Example").mkdir(parents=True)
    files = {
        "0705_c3s1_000065_00.jpg": jpeg(1),
        "0705_c4s1_000066_00.jpg": jpeg(2),
        "0706_c13s1_000001_00.jpg": jpeg(3),
        "Ada Example/first.jpg": jpeg(4),
        "Ada Example/again.jpg": jpeg(4),
        "Ada Example/cut.jpg": jpeg(5)[:300],
        "-1_c1s1_000401_03.jpg": jpeg(6),
        "0000_c1s1_000401_03.jpg": jpeg(7),
        "nobody.jpg": jpeg(8),
        "0707_c1s1_000001_00.png": b"text",
        ".hidden.jpg": jpeg(9),
        "notes.txt": b"not a picture",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def run(capsys, *words: str | Path, status: int = 0) -> str:
    """The output; errors after it."""
    assert main([str(word) for word in words]) == status
    told = capsys.readouterr()
    return told.out + told.err


def people(path) -> dict[str, int]:
    with open_gallery(path, None) as gallery:
        return {person.name: person.pictures for person in gallery.list(limit=1000)}


def test_a_folder_is_imported_and_bad_files_are_listed(folder, tmp_path, capsys):
    path = tmp_path / "people.gallery"
    command = ["import", folder, "--gallery", path, "--bundle", BUNDLE]
    told = run(capsys, *command, status=1)
    assert people(path) == {"0705": 2, "0706": 1, "Ada Example": 1}
    assert "4 pictures enrolled, 3 new people; 1 were in already, 2 junk left out." in told
    bad = [line for line in told.splitlines() if line.startswith("bad: ")]
    assert sorted(line.split(": ")[1] for line in bad) == ["0707_c1s1_000001_00.png", "Ada Example/cut.jpg", "nobody.jpg"]
    assert all(line.endswith((".", "folder with its person's name.")) for line in bad)
    with open_gallery(path, None) as gallery:
        cameras = {gallery.get(person.id).name: {kept.camera for kept in gallery.kept(person.id)} for person in gallery.list()}
        assert cameras == {"0705": {"3", "4"}, "0706": {"13"}, "Ada Example": {None}}
        (kept,) = gallery.kept(gallery.list(like="0706")[0].id)
        assert Image.open(io.BytesIO(gallery.thumbnail(kept.id) or b"")).size == (32, 64) and not kept.has_picture
    for name in ("nobody.jpg", "0707_c1s1_000001_00.png", "Ada Example/cut.jpg"):
        (folder / name).unlink()
    assert "0 pictures enrolled, 0 new people; 5 were in already" in run(capsys, *command)
    (folder / "Ada Example" / "later.jpg").write_bytes(jpeg(10))
    assert "1 pictures enrolled, 0 new people" in run(capsys, *command)
    assert people(path)["Ada Example"] == 2


def test_a_zip_of_a_folder_is_the_folder(folder, tmp_path, capsys):
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    run(capsys, "import", archive, "--gallery", tmp_path / "people.gallery", "--bundle", BUNDLE, status=1)
    assert people(tmp_path / "people.gallery") == {"0705": 2, "0706": 1, "Ada Example": 1}
    assert sorted(source.person for source in find_sources(archive).sources) == sorted(
        source.person for source in find_sources(folder).sources
    )


def test_a_damaged_zip_is_told_of_file_by_file(tmp_path, capsys):
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr("0001_c1s1_000001_00.jpg", jpeg(1))
        file.writestr("0002_c1s1_000001_00.jpg", jpeg(2))
    data = bytearray(archive.read_bytes())
    data[200:260] = bytes(60)
    archive.write_bytes(data)
    told = run(capsys, "import", archive, "--gallery", tmp_path / "people.gallery", "--bundle", BUNDLE, status=1)
    assert "1 pictures enrolled" in told and "bad: 0001_c1s1_000001_00.jpg: The file must be readable." in told


def test_a_csv_says_who_and_where_and_when(folder, tmp_path, capsys):
    table = folder / "people.csv"
    table.write_text(
        "path,person,camera,time\n"
        "0705_c3s1_000065_00.jpg,Örjan,door,2026-05-01T12:00:00+02:00\n"
        "Ada Example/first.jpg,Ada,,\n"
        "gone.jpg,Ada,,\n"
        "0706_c13s1_000001_00.jpg,Bob,,yesterday\n"
        "0706_c13s1_000001_00.jpg,Bob,,2026-05-01\n"
        "0706_c13s1_000001_00.jpg,,,\n",
        encoding="utf-8",
    )
    path = tmp_path / "people.gallery"
    told = run(capsys, "import", table, "--gallery", path, "--bundle", BUNDLE, status=1)
    assert people(path) == {"Örjan": 1, "Ada": 1} and told.count("bad: ") == 4
    assert "gone.jpg: The file must be there." in told and "must be like 2026-05-01T12" in told and "must say its zone" in told
    with open_gallery(path, None) as gallery:
        (kept,) = gallery.kept(gallery.list(like="örjan")[0].id)
        assert kept.camera == "door" and kept.time is not None and kept.time.isoformat() == "2026-05-01T10:00:00+00:00"
    table.write_text("file,who\na.jpg,Ada\n")
    assert "columns must be path, person" in run(capsys, "import", table, "--gallery", path, "--bundle", BUNDLE, status=1)


def test_an_import_that_was_stopped_goes_on_where_it_was(tmp_path, bundle):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(70):
        (folder / f"{number + 1:04}_c1s1_000001_00.jpg").write_bytes(jpeg(number))
    path, calls = tmp_path / "people.gallery", []

    def stop(done: int, total: int) -> None:
        calls.append((done, total))
        if len(calls) == 1:
            raise KeyboardInterrupt

    with open_gallery(path, mark_of(bundle)) as gallery, pytest.raises(KeyboardInterrupt):
        import_people(gallery, find_sources(folder), bundle, progress=stop)
    assert len(people(path)) == 32
    with open_gallery(path, mark_of(bundle)) as gallery:
        report = import_people(gallery, find_sources(folder), bundle, progress=stop)
    assert (report.people, report.pictures, report.skipped, report.bad) == (38, 38, 32, [])
    assert len(people(path)) == 70 and calls == [(32, 70), (32, 70), (64, 70), (70, 70)]


def test_quotas_refuse_people_one_by_one(folder, tmp_path, bundle):
    with open_gallery(tmp_path / "people.gallery", mark_of(bundle), Quota(people=2)) as gallery:
        report = import_people(gallery, find_sources(folder), bundle)
        assert gallery.people == 2 and [sentence for _, sentence in report.bad if "at most 2 people" in sentence]


def test_a_search_finds_who_was_imported_and_says_match_or_not(folder, tmp_path, capsys):
    path = tmp_path / "people.gallery"
    run(capsys, "import", folder, "--gallery", path, "--bundle", BUNDLE, status=1)
    search = ["search", folder / "0706_c13s1_000001_00.jpg", "--gallery", path, "--bundle", BUNDLE]
    lines = run(capsys, *search).splitlines()
    assert len(lines) == 3 and lines[0].startswith(" 1.000  match") and lines[0].endswith("0706")
    assert "no match" in lines[-1]
    assert "no match" in run(capsys, *search, "--threshold", "1.1").splitlines()[0]
    assert run(capsys, *search, "--camera", "3", "--by", "mean").splitlines()[0].endswith("0705")
    assert "0706" not in run(capsys, *search, "--without-camera", "13")
    assert "Nobody" in run(capsys, *search, "--since", "2026-01-01T00:00:00+00:00")


def test_people_are_listed_renamed_and_deleted_by_name_or_id(folder, tmp_path, capsys):
    path = tmp_path / "people.gallery"
    run(capsys, "import", folder, "--gallery", path, "--bundle", BUNDLE, status=1)
    on = ["--gallery", path]
    identity = run(capsys, "list", "--like", "ada", *on).split()[0]
    run(capsys, "rename", "0705", "Ada Example", *on)
    assert "which 2 have" in run(capsys, "delete", "Ada Example", *on, status=1)
    assert "must be in the gallery. Received: Nobody" in run(capsys, "delete", identity, "Nobody", *on, status=1)
    assert people(path) == {"Ada Example": 1, "0706": 1}, "the second of that name hides the first here; both are there"
    assert "deleted" in run(capsys, "delete", identity, "0706", *on)
    assert people(path) == {"Ada Example": 2}
    assert "people    1" in run(capsys, "info", *on) and "pedestrians-reid, 128 numbers" in run(capsys, "info", *on)


def test_the_export_is_written(folder, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "people.gallery"
    run(capsys, "import", folder, "--gallery", path, "--bundle", BUNDLE, status=1)
    assert "4 pictures in" in run(capsys, "export", tmp_path / "x.parquet", "--gallery", path)
    assert parquet.read_table(tmp_path / "x.parquet").num_rows == 4


def test_another_networks_gallery_is_re_embedded(folder, tmp_path, capsys, bundle):
    path = tmp_path / "people.gallery"
    mark = ModelMark("an older network", "0" * 64, 4)
    with open_gallery(path, mark) as gallery:
        for number in (1, 2):
            vector = np.eye(4, dtype=np.float32)[number]
            gallery.enrol(f"person {number}", [NewPicture(vector, picture=jpeg(number))])
    file = folder / "0705_c3s1_000065_00.jpg"
    search = ["search", file, "--gallery", path, "--bundle", BUNDLE]
    assert "re-embed" in run(capsys, *search, status=1)
    assert "2 pictures have vectors of pedestrians-reid" in run(capsys, "re-embed", "--gallery", path, "--bundle", BUNDLE)
    assert run(capsys, *search).splitlines()[0].endswith("person 1")


def test_kept_pictures_are_re_embedded_to_the_same_vectors_and_say_nothing_of_the_camera(tmp_path, capsys, bundle):
    folder, path = tmp_path / "photos", tmp_path / "people.gallery"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x010F] = "SECRET-MAKER"
    (folder / "0001_c1s1_000001_00.jpg").write_bytes(jpeg(1))
    (folder / "0002_c1s1_000001_00.jpg").write_bytes(jpeg(2, exif=exif))
    (folder / "0003_c1s1_000001_00.jpg").write_bytes(jpeg(3, size=(800, 1600)))
    run(capsys, "import", folder, "--gallery", path, "--bundle", BUNDLE, "--keep-pictures")
    with open_gallery(path, None) as gallery:
        one, two, three = [gallery.picture(gallery.kept(person.id)[0].id) or b"" for person in gallery.list()]
    assert one == jpeg(1) and b"SECRET-MAKER" not in two and Image.open(io.BytesIO(three)).size == (512, 1024)
    before = run(capsys, "search", folder / "0001_c1s1_000001_00.jpg", "--gallery", path, "--bundle", BUNDLE)
    run(capsys, "re-embed", "--gallery", path, "--bundle", BUNDLE)
    assert run(capsys, "search", folder / "0001_c1s1_000001_00.jpg", "--gallery", path, "--bundle", BUNDLE).splitlines()[0] in before


@pytest.mark.parametrize(
    "words, match",
    [
        (["list", "--gallery", "{}/none.gallery"], "gallery must exist"),
        (["import", "{}/none", "--gallery", "{}/g"], "must be a folder, a .zip or a .csv"),
        (["import", "{}/letter.txt", "--gallery", "{}/g"], "must be a folder, a .zip or a .csv"),
        (["import", "{}", "--gallery", "{}/g", "--bundle", "{}"], "must hold card.json"),
        (["search", "{}/letter.txt", "--gallery", "{}/g", "--bundle", str(BUNDLE)], "not a picture"),
        (["import", "{}", "--gallery", "{}/g", "--bundle", str(ROOT / "saved_models" / "digits-lenet5")], "embedding"),
    ],
)
def test_wrong_input_is_a_sentence(words, match, tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("Dear gallery")
    told = run(capsys, *(word.format(tmp_path) for word in words), status=1)
    assert told.startswith("gallery: ") and match in told and told.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["search", "x.jpg", "--gallery", "g", "--top", "0"], ["list"], ["search", "x", "--gallery", "g", "--since", "2026-01-01"]]
)
def test_a_wrong_command_line_is_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and "usage" in capsys.readouterr().err


def test_help_needs_neither_numpy_graphs_nor_milvus(tmp_path):
    code = "import sys\nsys.argv = ['gallery', '--help']\nfrom apps.gallery.__main__ import main\n"
    code += "try: main()\nexcept SystemExit: pass\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert "examples:" in done.stdout and "consent" in done.stdout, done.stderr
    assert {"onnxruntime", "pymilvus", "pyarrow", "PIL"}.isdisjoint(done.stdout.splitlines()[-1].split())


def test_the_demo_people_of_the_bundle_are_found_from_another_camera(tmp_path, capsys):
    """gallery.zip is what the page shows: its people are found by the bundle's examples, which another camera took."""
    if "gallery.zip" not in json.loads((BUNDLE / "card.json").read_text())["files"]:
        pytest.skip("the bundle has no gallery.zip")
    path = tmp_path / "people.gallery"
    run(capsys, "import", BUNDLE / "gallery.zip", "--gallery", path, "--bundle", BUNDLE)
    assert len(people(path)) == 200
    examples = sorted((BUNDLE / "examples").glob("id*.png"))
    first = [run(capsys, "search", file, "--gallery", path, "--bundle", BUNDLE, "--top", "1").split()[-1] for file in examples]
    assert sum(int(found) == int(file.name[2:].split("-")[0]) for found, file in zip(first, examples, strict=True)) >= len(examples) / 2
