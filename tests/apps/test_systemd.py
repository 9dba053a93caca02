"""The systemd unit: systemd itself reads it without a word, it is shut tight, and it stops the server no sooner than the server would."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from apps.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "apps" / "kerasdl-apps.service"
PYTHON = "/opt/kerasdl/.venv/bin/python"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


class Lines(dict):
    """A key may stand on several lines of a unit; each adds to it."""

    def __setitem__(self, key, value):
        super().__setitem__(key, [*self[key], *value] if key in self and isinstance(value, list) else value)


def service() -> dict[str, list[str]]:
    unit = configparser.RawConfigParser(dict_type=Lines, strict=False, delimiters="=", comment_prefixes="#", interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    return {key: value.splitlines() for key, value in unit["Service"].items()}


def analyze(tmp_path: Path, *command: str) -> subprocess.CompletedProcess:
    """systemd-analyze on the unit, its interpreter replaced by one that exists."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PYTHON, sys.executable))
    return subprocess.run(["systemd-analyze", *command, str(unit)], capture_output=True, text=True, timeout=60)


def test_reload_is_sighup_and_secrets_come_from_a_file():
    unit = service()
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert unit["EnvironmentFile"] == ["-/etc/kerasdl/apps.env"]
    assert unit["ExecStart"][0].startswith(f"{PYTHON} -m apps --bundles ")
    assert not any("TOKEN" in line for line in unit["Environment"])


def test_a_gallery_has_one_folder_of_its_own_to_be_written_in():
    unit = service()
    assert (unit["StateDirectory"], unit["StateDirectoryMode"], unit["ProtectSystem"]) == (["kerasdl"], ["0700"], ["strict"])
    assert "KERASDL_APPS_GALLERY=/var/lib/kerasdl/" in UNIT.read_text() and "ReadWritePaths" not in unit
    assert Settings.model_config.get("env_prefix") == "KERASDL_APPS_"


def test_the_server_gets_the_time_it_needs_to_drain():
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    (seconds,) = service()["TimeoutStopSec"]
    assert int(seconds) >= defaults["drain_seconds"] + defaults["grace_seconds"] + 5
    assert service()["KillMode"] == ["mixed"]


def test_it_may_write_nowhere_and_gain_nothing():
    unit = service()
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "MemoryDenyWriteExecute", "ProtectHome"):
        assert unit[name] == ["yes"], name
    assert unit["ProtectSystem"] == ["strict"] and unit["CapabilityBoundingSet"] == []
    assert unit["SystemCallFilter"] == ["@system-service", "~@privileged"]
    assert "ReadWritePaths" not in unit


@needs_systemd
def test_systemd_finds_nothing_to_say(tmp_path):
    done = analyze(tmp_path, "verify", "--man=no")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_systemd_calls_its_exposure_low(tmp_path):
    done = analyze(tmp_path, "security", "--no-pager", "--offline=yes", "--threshold=20")  # 2.0 of 10
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
