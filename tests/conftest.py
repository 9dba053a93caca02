"""What every test shares: a quiet and offline process, a browser where there is one, and a free port."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("MPLBACKEND", "Agg")

import atexit
import ipaddress
import shutil
import socket
import tempfile
from collections.abc import Callable

import pytest

if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # what one worker's servers leave behind is not another's to count
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix=f"kerasdl-tests-{worker}-")
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


def is_local(address: object) -> bool:
    """Whether a socket address stays on this machine: loopback, or a path of a Unix socket."""
    host = address[0] if isinstance(address, tuple) else None
    if host is None or host in ("", "localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return ip.is_loopback or ip.is_unspecified


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test talks to another machine: connecting to one is an error, so that a hidden download or a call home shows itself."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guard(method):
        def guarded(self, address, *rest):
            if self.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address):
                raise RuntimeError(f"Tests stay on this machine. Received: a connection to {address}")
            return method(self, address, *rest)

        return guarded

    monkeypatch.setattr(socket.socket, "connect", guard(connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guard(connect_ex))


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for Playwright's executable_path."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    return path or pytest.skip(f"no browser here: install one of {', '.join(CHROMIUMS)}")


@pytest.fixture
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Under KERASDL_REQUIRE_BROWSER=1 (continuous integration) a skipped browser test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("KERASDL_REQUIRE_BROWSER") == "1" and item.get_closest_marker("browser"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"KERASDL_REQUIRE_BROWSER=1 wants every browser test to run. {reason}"
    return report
