"""Least squares and ridge regression in closed form (course rows A2 to A6; Hoerl and Kennard 1970, doi:10.1080/00401706.1970.10488634)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Ridge(NamedTuple):
    """float64. weights: (K,T); bias: (T,); precision: (T,), of the noise, infinite where the fit is exact."""

    weights: np.ndarray
    bias: np.ndarray
    precision: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N,K) to (N,T)"""
        return features @ self.weights + self.bias


def solve_ridge(features: Any, targets: Any, ridge: float = 0.0, penalise_bias: bool = False) -> Ridge:
    """The weights that minimise sum |t - x w - b|² + ridge |w|²; with ridge 0 the maximum likelihood under Gaussian noise.

    Under noise of precision beta and a prior of precision lambda on the weights, `ridge` is lambda / beta. The normal equation
    ((lambda / beta) I + xᵗx) w = xᵗt is not formed: its condition is the square of that of x. An orthogonal factorisation solves
    [x; sqrt(ridge) I] w = [t; 0] instead (numpy's lstsq, by the SVD), which gives the shortest weights where many fit alike.

    Args:
        features: (N,K) numbers.
        targets: (N,) or (N,T), each solved by itself.
        ridge: lambda / beta, at least 0.
        penalise_bias: whether the bias is a weight like the others, as the slides have it; else it follows the means.

    Returns:
        `Ridge`. Its precision is N / sum (t - x w - b)² of these N examples, the maximum likelihood of beta: the mean square itself is the
        variance, one over beta. It is too large by about N / (N - K - 1), the price of having fitted K + 1 numbers to the same examples.

    Raises:
        ValueError: shapes that do not fit, no examples, numbers that are not finite, or a negative ridge.
    """
    x, t = _checked(features, targets)
    if not 0 <= ridge < np.inf:
        raise ValueError(f"ridge is lambda / beta, a number of at least 0. Received: {ridge}")
    if penalise_bias:
        found = _least_squares(np.column_stack([np.ones(len(x)), x]), t, ridge)
        bias, weights = found[0], found[1:]
    else:
        centre, middle = x.mean(axis=0), t.mean(axis=0)
        weights = _least_squares(x - centre, t - middle, ridge)
        bias = middle - centre @ weights
    variance = np.mean((t - x @ weights - bias) ** 2, axis=0)
    with np.errstate(divide="ignore"):
        return Ridge(weights, bias, 1 / variance)


def _least_squares(x: np.ndarray, t: np.ndarray, ridge: float) -> np.ndarray:
    if ridge:
        x = np.concatenate([x, np.sqrt(ridge) * np.eye(x.shape[1])])
        t = np.concatenate([t, np.zeros((x.shape[1], t.shape[1]))])
    return np.linalg.lstsq(x, t, rcond=None)[0]


def _checked(features: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    x, t = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    t = t[:, None] if t.ndim == 1 else t
    if x.ndim != 2 or t.ndim != 2 or len(x) != len(t) or not len(x):
        raise ValueError(f"ridge needs features (N,K) and targets (N,) or (N,T). Received: {x.shape} and {np.shape(targets)}")
    if not (np.isfinite(x).all() and np.isfinite(t).all()):
        raise ValueError("features and targets must be finite numbers. Received: NaN or infinity among them")
    return x, t


def solve_head(model: Any, layer: str, inputs: Any, targets: Any, ridge: float = 0.0, batch_size: int = 4096) -> Ridge:
    """Sets the Dense layer of that name, the last that trains, to what `solve_ridge` gives of the numbers before it.

    Args:
        model: a Keras model; `inputs` are what it takes, arrays by name or one array.
        targets: (N,T), what the layer should give.

    The precision is that of the layer's own output.
    """
    import keras

    head = model.get_layer(layer)
    before = keras.Model(model.input, head.input)
    names = inputs if isinstance(inputs, dict) else {"": inputs}
    count = len(next(iter(names.values())))
    parts = []
    for start in range(0, count, batch_size):
        some = {name: values[start : start + batch_size] for name, values in names.items()}
        parts.append(np.asarray(before.predict_on_batch(some if isinstance(inputs, dict) else some[""]), np.float64))
    found = solve_ridge(np.concatenate(parts), targets, ridge)
    head.set_weights([found.weights, found.bias])
    return found
