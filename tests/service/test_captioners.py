"""Captioners among the served: every way of asking one gets the right answer, also from many at once, and bad requests are refused."""

import numpy as np
import pytest

from apps.runtime import load_bundle
from tests.service.traffic import bad_inference, good_cases, some_inputs, wrong_answers

NAMES = ("halves-recurrent", "halves-transformer")


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_words_and_a_past_has_room(bundles, name):
    bundle = load_bundle(bundles / name)
    made = [some_inputs(bundle, "decoder", batch, seed) for batch in (1, 2, 7, 64) for seed in range(3)]
    tokens = np.concatenate([inputs["token"] for inputs in made])
    assert tokens.dtype == np.int32 and tokens.min() == 0 and tokens.max() == len(bundle.labels) - 1
    if name == "halves-transformer":
        assert {inputs["state"].shape[4] for inputs in made} == {0, 1, 6}  # of 8 tokens the last is never given
    for inputs in made:
        assert all(np.isfinite(values).all() for values in bundle.run(inputs, "decoder").values())


@pytest.mark.parametrize("name", NAMES)
def test_every_way_of_asking_is_answered_right_when_many_ask(server, bundles, name):
    cases = good_cases({"": load_bundle(bundles / name)})
    assert {case.kind for case in cases} == {"v2 JSON", "v2 binary", "v2 binary in, JSON out", "caption, raw", "caption, form"}

    assert wrong_answers(server.port, cases) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_is_wrong_is_refused(client, bundles, name):
    for bad in bad_inference(load_bundle(bundles / name)):
        assert bad.problem(bad.send(client)) is None, bad.kind
