"""A network for rows among the served: rows and files get the right numbers, also from many at once, and bad requests are refused."""

from apps.runtime import load_bundle
from tests.service.traffic import bad_inference, good_cases, wrong_answers


def test_every_way_of_asking_is_answered_right_when_many_ask(server, bundles):
    cases = good_cases({"": load_bundle(bundles / "houses")})
    assert {case.kind for case in cases} >= {"v2 JSON", "v2 binary", "row", "rows, JSON", "rows, file"}

    assert wrong_answers(server.port, cases) == []


def test_what_is_wrong_is_refused(client, bundles):
    for bad in bad_inference(load_bundle(bundles / "houses")):
        assert bad.problem(bad.send(client)) is None, bad.kind
