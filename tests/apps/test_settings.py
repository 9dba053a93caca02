"""Settings: flags over the environment over the file, and a sentence for every value that cannot be."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from apps.settings import PREFIX, BadSettings, Settings, as_toml, read_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nothing_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(tmp_path, monkeypatch):
    (tmp_path / "apps.toml").write_text("port = 1000\nworkers = 3\nqueue = 5\n")
    monkeypatch.setenv("KERASDL_APPS_PORT", "2000")
    monkeypatch.setenv("KERASDL_APPS_WORKERS", "4")
    settings = read_settings(["--port", "3000"])
    assert (settings.port, settings.workers, settings.queue) == (3000, 4, 5)


def test_the_defaults_are_those_of_a_server_for_oneself():
    settings = read_settings([])
    assert (settings.host, settings.port, settings.token, settings.threads) == ("127.0.0.1", 7860, None, 1)
    assert settings.loopback and settings.controllable and settings.allowed_hosts == ["127.0.0.1", "::1", "localhost"]


def test_numbers_may_be_written_as_people_do():
    settings = read_settings(["--max-body", "8e6", "--max-pixels", "1_000_000", "--deadline", "2"])
    assert (settings.max_body, settings.max_pixels, settings.deadline) == (8_000_000, 1_000_000, 2.0)


def test_lists_are_written_with_commas(monkeypatch):
    monkeypatch.setenv("KERASDL_APPS_ALLOWED_HOSTS", "example.org, *.example.net")
    settings = read_settings(["--frame-ancestors", "https://huggingface.co"])
    assert settings.allowed_hosts == ["example.org", "*.example.net"]
    assert settings.frame_ancestors == ["https://huggingface.co"]


def test_a_public_server_answers_to_any_name_but_lets_no_stranger_control_it():
    public = read_settings(["--host", "0.0.0.0"])
    assert public.allowed_hosts == ["*"] and not public.controllable
    assert read_settings(["--host", "0.0.0.0", "--token", "s3cret"]).controllable
    assert not read_settings(["--no-control"]).controllable


def test_a_gallery_is_private_drawn_and_without_pictures_unless_its_owner_says_otherwise():
    settings = read_settings([])
    assert (settings.gallery, settings.keep_pictures, settings.enrol) == (None, False, True)
    settings = read_settings(["--gallery", "milvus:people", "--gallery-people", "50", "--keep-pictures", "--no-enrol"])
    assert (settings.gallery, settings.gallery_people, settings.keep_pictures, settings.enrol) == ("milvus:people", 50, True, False)
    assert not settings.enrollable


WRONG = {
    ("--port", "70000"): "port must be a whole number from 0 to 65535. Received: 70000.",
    ("--port", "http"): "port must be a whole number from 0 to 65535. Received: http.",
    ("--gallery-people", "0"): "gallery_people must be a whole number from 1 to 10000000. Received: 0.",
    ("--gallery", ""): "gallery must be text or a list of texts. Received: .",
    ("--workers", "1.5"): "workers must be a whole number from 1 to 1024. Received: 1.5.",
    ("--deadline", "0"): "deadline must be a number above 0 to 86400. Received: 0.",
    ("--deadline", "nan"): "deadline must be a number above 0 to 86400. Received: nan.",
    ("--log-format", "xml"): "log_format must be one of auto, json, text. Received: xml.",
    ("--host", "a b"): "host must be an address or a name. Received: a b.",
    ("--allowed-hosts", "a/b"): "allowed_hosts must be like example.org, *.example.org or *, with commas between. Received: a/b.",
    (
        "--frame-ancestors",
        "x; script-src *",
    ): "frame_ancestors must be like https://example.org, with commas between. Received: x; script-src *.",
    ("--token", "a b"): "token must be printable ASCII characters without spaces, at least one. Received: ***.",
    ("--token", ""): "token must be printable ASCII characters without spaces, at least one. Received: ***.",
    ("--login", "alice", "--token", "x"): "login must be USER:PASSWORD. Received: ***.",
    ("--login", "alice:pw"): "login guards the pages only: set token, too, or the API stays open.",
}


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_wrong_value_is_a_sentence(arguments):
    with pytest.raises(BadSettings) as caught:
        read_settings(arguments)
    assert str(caught.value) == WRONG[arguments]


def test_a_misspelt_line_or_variable_is_refused_with_the_nearest(tmp_path, monkeypatch):
    (tmp_path / "my.toml").write_text("wokers = 3\n")
    with pytest.raises(BadSettings, match="There is no setting wokers. Did you mean workers?"):
        read_settings(["--config", "my.toml"])
    monkeypatch.setenv("KERASDL_APPS_PROT", "80")
    with pytest.raises(BadSettings, match="Did you mean KERASDL_APPS_PORT?"):
        read_settings([])


def test_a_file_that_is_missing_or_no_toml_is_a_sentence(tmp_path):
    with pytest.raises(BadSettings, match="must exist. Received: none.toml"):
        read_settings(["--config", "none.toml"])
    (tmp_path / "apps.toml").write_text("port: 80\n")
    with pytest.raises(BadSettings, match="must be readable TOML. Received: apps.toml"):
        read_settings([])


def test_what_is_printed_can_be_read_again(tmp_path):
    settings = read_settings(["--port", "8123", "--allowed-hosts", "a.org,b.org", "--bundles", 'my "own" bundles', "--deadline", "1.5"])
    (tmp_path / "apps.toml").write_text(as_toml(settings))
    assert read_settings([]).model_dump() == settings.model_dump()


def test_print_config_prints_toml_without_secrets_and_starts_nothing():
    command = [sys.executable, "-m", "apps", "--print-config", "--token", "s3cret", "--login", "alice:pass", "--bundles", "nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    printed = tomllib.loads(done.stdout)
    assert printed["token"] == printed["login"] == "***" and printed["bundles"] == "nowhere" and printed["port"] == 7860
    assert "s3cret" not in done.stdout and "pass" not in done.stdout


def test_every_setting_has_a_flag_with_help():
    done = subprocess.run([sys.executable, "-m", "apps", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=240)
    words = " ".join(done.stdout.split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in words and str(field.description) in words
