"""What the tests of deploying share: the shipped bundles, each verified once in a process, for no test changes one."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from export.deploy import deploy, targets
from export.deploy.bundles import finished

BUNDLES = Path(__file__).resolve().parents[2] / "saved_models"
checked = functools.cache(finished)


@contextmanager
def verified_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "finished", checked)
        yield


def deploy_shipped(name: str, **wanted: Path) -> None:
    """deploy_shipped("digits-lenet5", web=folder)"""
    with verified_once():
        deploy(BUNDLES / name, wanted)
