"""A card in words: what the page says must hold for what was measured."""

import pytest

from apps.facts import parity


@pytest.mark.parametrize(("error", "said"), [(1.23e-6, "1.3e-06"), (1e-6, "1.0e-06"), (9.96e-7, "1.0e-06"), (0.0, "0.0e+00")])
def test_the_bound_on_the_difference_is_never_below_what_was_measured(error, said):
    row = {"runtime": "onnxruntime", "max_error": error, "samples": 256, "decisions_equal": True}
    text = parity({"parity": [row, {**row, "max_error": error / 2}]})
    assert text == f"at most {said} from Keras over 256 real pictures, all decisions equal"
