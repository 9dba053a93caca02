"""One server in a process of its own for the tests that wear it out, over bundles of pictures, captions, people, rows and plain numbers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.halves import captioner, recurrent, transformer
from tests.apps.houses import regressor
from tests.service.bundles import number_bundle
from tests.service.serving import OwnServer
from tests.service.traffic import Client

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved_models")
    shutil.copytree(ROOT / "saved_models" / "digits-lenet5", folder / "digits-lenet5")
    shutil.copytree(ROOT / "saved_models" / "pedestrians-reid", folder / "pedestrians-reid")
    number_bundle(folder)
    captioner(folder, recurrent(), "halves-recurrent")
    captioner(folder, transformer(), "halves-transformer")
    regressor(folder)
    return folder


@pytest.fixture(scope="session")
def server(bundles, tmp_path_factory) -> Iterator[OwnServer]:
    """At the end it must stop when told, and its log must be free of tracebacks."""
    running = OwnServer(bundles, tmp_path_factory.mktemp("log") / "server.log", "--body-seconds", "2")
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.kill()
    log = running.log.read_text()
    assert "Traceback" not in log, log[max(0, log.find("Traceback") - 500) :][:3000]


@pytest.fixture
def client(server) -> Iterator[Client]:
    one = Client("127.0.0.1", server.port)
    yield one
    one.close()
