"""The server keeps what /openapi.json says: schemathesis makes requests from it, valid and invalid, and holds every answer against it."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from tests.service.traffic import Request

pytestmark = pytest.mark.slow
load_all_checks()
SENSELESS = {
    "negative_data_rejection",  # what v2 does not know it passes over, as Triton does
    "positive_data_acceptance",  # a name that no bundle bears is a valid string and yet 404
}
KNOWN = {"name": "numbers", "version": "1"}
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]
thorough = settings(max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET)


@pytest.fixture(scope="session")
def operations(server) -> dict[str, Any]:
    """By method and path, as /openapi.json has them."""
    schema: Any = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def check_all(operation: Any, mode: GenerationMode, known: dict[str, str]) -> None:
    """Ask for one operation in many ways, and hold each answer against all checks that make sense."""
    checks: list[Any] = [check for check in CHECKS.get_all() if check.__name__ not in SENSELESS]

    @thorough
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        case.path_parameters = {key: known.get(key, value) for key, value in (case.path_parameters or {}).items()}
        case.call_and_validate(checks=checks)

    try:
        ask()
    except Unsatisfiable:  # a route without a body takes nothing that could be invalid
        assert mode == GenerationMode.NEGATIVE and not operation.body


def test_the_interface_is_described_whole_and_the_checks_left_out_exist(operations):
    wanted = {"POST /api/match", "POST /api/gallery", "PATCH /api/gallery/{person}", "DELETE /api/gallery/{person}"}
    wanted |= {
        "POST /api/regress",
        "POST /api/classify",
        "POST /v2/models/{name}/infer",
        "POST /v2/repository/reload",
        "GET /healthz/ready",
        "GET /metrics",
    }
    assert wanted <= set(operations)
    assert SENSELESS < {check.__name__ for check in CHECKS.get_all()}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_every_route_answers_as_it_is_described(operations, mode, subtests):
    for name, operation in operations.items():
        with subtests.test(name):
            check_all(operation, mode, {})


def test_every_route_answers_as_it_is_described_for_a_bundle_that_exists(operations, subtests):
    for name, operation in operations.items():
        if name.split()[1].startswith("/v2/models/"):
            with subtests.test(name):
                check_all(operation, GenerationMode.POSITIVE, KNOWN)


def test_afterwards_the_server_is_ready(client):
    assert client.ask(Request("/healthz/ready", method="GET")).status == 200
