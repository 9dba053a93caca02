"""Regressions and neighbours as ONNX graphs: standard operators, and the numbers of Keras."""

import dataclasses
from functools import partial

import numpy as np
import onnxruntime
import pytest

from export.convert import to_onnx
from export.gates import check_columns, check_domains
from kerasdl.data import diabetes
from kerasdl.data.digits import digits
from kerasdl.linear import nearest_neighbours
from kerasdl.models import linear_regression, mlp, polynomial, random_fourier
from kerasdl.recipe import find_recipe
from kerasdl.train import build


def run(proto, features: np.ndarray, outputs: list[str]) -> dict[str, np.ndarray]:
    check_domains(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    check_columns("float32", given.shape)
    assert given.name == "features" and [o.name for o in session.get_outputs()] == outputs
    return dict(zip(outputs, session.run(outputs, {"features": features}), strict=True))


@pytest.mark.parametrize(
    "model",
    [linear_regression, partial(polynomial, degree=3), partial(random_fourier, features=64), partial(mlp, width=8)],
    ids=["linear", "polynomial", "fourier", "mlp"],
)
def test_a_regression_exports_with_parity_in_units(model):
    recipe = dataclasses.replace(find_recipe("diabetes-ridge"), model=model)
    splits = diabetes()
    training = build(recipe, splits.spec)
    recipe.task.before_training(training, splits)
    trained = recipe.task.trained(training)
    recipe.task.after_training(trained, splits)
    serving = recipe.task.serving(trained, splits.spec)["model"]
    proto = to_onnx(serving, list(recipe.task.outputs))
    for rows in (1, 3, 71):
        features = splits.valid.arrays()["features"][:rows]
        wanted, found = serving.predict_on_batch({"features": features}), run(proto, features, ["value", "interval"])
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], atol=recipe.task.tolerance * splits.spec.targets[0].std)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_stored_neighbours_export_and_vote_as_they_should(metric, k):
    from sklearn.neighbors import KNeighborsClassifier

    splits = digits()
    stored, asked = (part.arrays() for part in (splits.train, splits.test))
    small = [fields["image"][:, ::4, ::4, 0].reshape(len(fields["image"]), -1).astype("float32") for fields in (stored, asked)]
    model = nearest_neighbours(small[0], stored["label"], k=k, metric=metric)
    found = run(to_onnx(model, ["label", "shares"]), small[1], ["label", "shares"])
    wanted = {name: np.asarray(value) for name, value in model.predict_on_batch(small[1]).items()}
    assert len(found["label"]) >= 256 and found["shares"].shape == (len(found["label"]), 10)
    np.testing.assert_array_equal(found["label"], wanted["label"])
    np.testing.assert_array_equal(found["shares"], wanted["shares"])
    labels, shares, tied = voted(small[0], small[1], stored["label"], k, metric)
    np.testing.assert_array_equal(found["label"], labels)
    np.testing.assert_allclose(found["shares"], shares, rtol=1e-6)
    peer = KNeighborsClassifier(k, p={"l1": 1, "l2": 2}[metric], algorithm="brute").fit(small[0], stored["label"])
    np.testing.assert_array_equal(found["label"][~tied], peer.predict(small[1])[~tied])  # which lets the smaller class win a tie
    assert tied.any() == (k > 1)
    assert np.mean(found["label"] == asked["label"]) > 0.95


def voted(stored: np.ndarray, asked: np.ndarray, labels: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The classes by whole numbers, the shares of the votes, and where several classes had the most of them."""
    said, shares, tied = [], [], []
    for one in asked.astype(int):
        away = np.abs(stored.astype(int) - one)
        nearest = labels[np.argsort((away if metric == "l1" else away**2).sum(1), kind="stable")[:k]]
        votes = np.bincount(nearest, minlength=10)
        said.append(next(label for label in nearest if votes[label] == votes.max()))
        shares.append(votes / k)
        tied.append((votes == votes.max()).sum() > 1)
    return np.array(said), np.array(shares), np.array(tied)
