"""LiteRT files say what Keras said; a graph that LiteRT cannot run is told in a sentence, and nothing is written."""

import json
import warnings

import numpy as np
import pytest

from export.deploy import litert
from export.deploy.bundles import Finished
from export.gates import ExportRefused
from tests.export.deploying import BUNDLES, checked, deploy_shipped


@pytest.mark.slow
def test_the_file_says_what_keras_said(tmp_path):
    import tensorflow as tf

    deploy_shipped("digits-lenet5", litert=tmp_path / "lite")
    with np.load(BUNDLES / "digits-lenet5" / "sample.npz") as sample:
        given, wanted = sample["model/input/image"], sample["model/output/probabilities"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(str(tmp_path / "lite" / "digits-lenet5.tflite"))
    found = interpreter.get_signature_runner("model")(image=given[:3])["probabilities"]
    np.testing.assert_allclose(found, wanted[:3], atol=1e-5)


@pytest.mark.slow
def test_a_decoder_that_litert_cannot_run_is_refused():
    folder = BUNDLES / "scenes-captioner"
    bundle = Finished(folder, json.loads((folder / "card.json").read_text(encoding="utf-8")))
    with pytest.raises(ExportRefused, match=r"LiteRT must take every graph of scenes-captioner.*Received: decoder"):
        litert.converted(bundle, "decoder")


def test_another_answer_is_refused(monkeypatch):
    """By a converter that takes everything and an interpreter that is wrong."""
    monkeypatch.setattr(litert, "convert", lambda bundle, graph: b"")
    monkeypatch.setattr(litert, "difference", lambda content, graph, given, gave: 0.5)
    with pytest.raises(ExportRefused, match=r"within 1e-05\. Received: model with a difference of 0\.5"):
        litert.converted(checked(BUNDLES / "digits-lenet5"), "model")
