"""`python -m export deploy`: all that was asked for or nothing, and never over what somebody else wrote."""

import json
import shutil
from pathlib import Path

import pytest

from export.__main__ import main
from export.deploy import cpp, deploy, triton, web
from export.deploy.bundles import Finished
from export.gates import ExportRefused
from tests.export.deploying import BUNDLES, checked, verified_once

DIGITS = BUNDLES / "digits-lenet5"


@pytest.fixture
def once():
    with verified_once():
        yield


def run(*words: str) -> int:
    return main(["deploy", *words, "--out", str(BUNDLES), "--quiet"])


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_the_command_writes_every_target_with_a_list_of_its_files(tmp_path, capsys):
    assert run("digits-lenet5", "--triton", str(tmp_path / "models"), "--cpp", str(tmp_path / "cpp")) == 0
    assert capsys.readouterr().err == ""
    for kind, folder in (("triton", tmp_path / "models" / "digits-lenet5"), ("cpp", tmp_path / "cpp")):
        facts = json.loads((folder / "deployed.json").read_text())
        assert (facts["kind"], facts["bundle"]) == (kind, "digits-lenet5")
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert files == {*facts["files"], "deployed.json"}
    assert not [name for name in everything(tmp_path) if ".partial" in name]


def test_a_folder_is_written_again_only_as_it_was(once, tmp_path):
    repository = tmp_path / "models"
    deploy(DIGITS, {"triton": repository})
    config = repository / "digits-lenet5" / "config.pbtxt"
    text = config.read_text()
    deploy(DIGITS, {"triton": repository})
    assert config.read_text() == text
    config.write_text(text.replace("count: 1", "count: 2"))
    with pytest.raises(ExportRefused, match=r"only as it was written\. Received: .*config\.pbtxt"):
        deploy(DIGITS, {"triton": repository})
    assert "count: 2" in config.read_text()
    config.write_text(text)
    (repository / "digits-lenet5" / "2").mkdir()
    (repository / "digits-lenet5" / "2" / "model.onnx").write_bytes(b"a later version")
    with pytest.raises(ExportRefused, match=r"2/model\.onnx"):
        deploy(DIGITS, {"triton": repository})


def test_what_a_build_left_is_no_reason_to_refuse(once, tmp_path):
    deploy(DIGITS, {"cpp": tmp_path / "cpp"})
    (tmp_path / "cpp" / "build").mkdir()
    (tmp_path / "cpp" / "build" / "predict").write_bytes(b"a program")
    deploy(DIGITS, {"cpp": tmp_path / "cpp"})
    assert not (tmp_path / "cpp" / "build").exists()


def test_other_peoples_folders_and_files_stay(once, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    deploy(DIGITS, {"cpp": tmp_path / "cpp"})
    for kind, name in (("cpp", "theirs"), ("cpp", "file"), ("cpp", "link"), ("litert", "cpp")):
        before = everything(tmp_path)
        with pytest.raises(ExportRefused, match="Received"):
            deploy(DIGITS, {kind: tmp_path / name})
        assert everything(tmp_path) == before
    assert (tmp_path / "theirs" / "notes.txt").read_text() == "mine"


def test_nothing_is_written_when_one_of_several_targets_cannot_be(once, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_text("mine")
    with pytest.raises(ExportRefused):
        deploy(DIGITS, {"triton": tmp_path / "models", "cpp": tmp_path / "theirs"})
    assert everything(tmp_path) == ["theirs", "theirs/notes.txt"]


@pytest.mark.parametrize("others", ["same", "same/inside"])
def test_two_targets_have_two_folders(once, tmp_path, others):
    with pytest.raises(ExportRefused, match="a folder of its own"):
        deploy(DIGITS, {"cpp": tmp_path / "same", "litert": tmp_path / others})


def test_a_bundle_that_was_changed_is_not_deployed(tmp_path):
    copied = Path(shutil.copytree(DIGITS, tmp_path / "digits-lenet5"))
    graph = copied / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"x")
    with pytest.raises(ExportRefused, match="sha256"):
        deploy(copied, {"triton": tmp_path / "models"})
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["digits-lenet6", "--cpp", "x"], "Did you mean 'digits-lenet5'?"),
        (["../tests", "--cpp", "x"], "there must be a bundle"),
    ],
)
def test_a_refusal_is_one_sentence(once, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    line = capsys.readouterr().err
    assert told in line and line.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_target_must_be_named(capsys):
    with pytest.raises(SystemExit):
        run("digits-lenet5")
    assert "--triton DIR" in capsys.readouterr().err


def test_weights_in_a_file_of_their_own_go_where_the_graph_finds_them(tmp_path):
    whole = checked(DIGITS)
    graphs = {"model.onnx": {**whole.card["graphs"]["model.onnx"], "external_data": "model.onnx.data"}}
    bundle = Finished(tmp_path / "bundle", {**whole.card, "graphs": graphs})
    shutil.copytree(DIGITS, bundle.folder)
    (bundle.folder / "model.onnx.data").write_bytes(b"weights")
    ((folder, write),) = triton.folders(bundle, tmp_path / "models").items()
    folder.mkdir(parents=True)
    write(folder)
    assert (folder / "1" / "model.onnx.data").read_bytes() == b"weights"
    for kind in (cpp, web):
        with pytest.raises(ExportRefused, match=r"graphs that hold their weights\. Received: model\.onnx with model\.onnx\.data"):
            kind.folders(bundle, tmp_path / "other")


def test_a_program_is_not_made_of_several_graphs(tmp_path):
    folder = BUNDLES / "scenes-captioner"
    bundle = Finished(folder, json.loads((folder / "card.json").read_text(encoding="utf-8")))
    with pytest.raises(ExportRefused, match=r"a bundle of one graph.*Received: scenes-captioner with encoder\.onnx and decoder\.onnx"):
        cpp.folders(bundle, tmp_path / "program")


def test_a_page_is_not_made_for_a_step_that_it_does_not_know(tmp_path):
    whole = checked(DIGITS)
    card = json.loads(json.dumps(whole.card))
    card["graphs"]["model.onnx"]["inputs"][0]["prepare"].append({"op": "rotate"})
    with pytest.raises(ExportRefused, match="Received: rotate"):
        web.folders(Finished(DIGITS, card), tmp_path / "site")
