"""A network for rows among the served: rows and files get the right numbers, also from many at once, and bad requests are refused."""

from concurrent.futures import ThreadPoolExecutor

from apps.runtime import load_bundle
from tests.service.traffic import Client, bad_inference, good_cases


def test_every_way_of_asking_is_answered_right_when_many_ask(server, bundles):
    cases = good_cases({"": load_bundle(bundles / "houses")})
    assert {case.kind for case in cases} >= {"v2 JSON", "v2 binary", "row", "rows, JSON", "rows, file"}

    def wrong(number):
        client = Client("127.0.0.1", server.port)
        try:
            return [case.kind for case in cases[number::4] if case.versions(case.send(client)) != {""}]
        finally:
            client.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(wrong, range(4))) == [[]] * 4


def test_what_is_wrong_is_refused(client, bundles):
    for bad in bad_inference(load_bundle(bundles / "houses")):
        assert bad.problem(bad.send(client)) is None, bad.kind
