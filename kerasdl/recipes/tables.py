"""Experiments on tables of numbers: bundled diabetes, California housing (`KERASDL_DATA_DIR`), and a drawn sine."""

from functools import partial

from keras.optimizers import SGD, AdamW

from kerasdl.data.california import california
from kerasdl.data.diabetes import diabetes
from kerasdl.data.wave import wave
from kerasdl.models import linear_regression, mlp, polynomial
from kerasdl.recipe import Recipe
from kerasdl.schedules import constant, one_cycle
from kerasdl.tasks import Regression

DIABETES_RIDGE = Recipe(
    name="diabetes-ridge",
    note="Ridge regression in closed form on the 442 patients that scikit-learn ships; --set epochs=100 goes on by gradient descent.",
    data=diabetes,
    model=linear_regression,
    task=Regression(ridge=1.0),
    epochs=0,
    batch_size=32,
    optimizer=SGD,
    schedule=partial(constant, rate=0.01),
    expect={"R2": 0.57},
    minutes=0.1,
)

CALIFORNIA_MLP = Recipe(
    name="california-mlp",
    note="Median house values of California's census blocks by a perceptron with three hidden layers, absolute error.",
    data=california,
    model=partial(mlp, width=128, depth=3),
    task=Regression(error="absolute"),
    epochs=60,
    batch_size=128,
    optimizer=partial(AdamW, weight_decay=0.01),
    schedule=partial(one_cycle, peak=3e-3),
    expect={"R2": 0.79},
    minutes=2,
)

POLYNOMIAL_DEMO = Recipe(
    name="polynomial-demo",
    note="A polynomial through 20 points of a noisy sine, of the degree that cross-validation chooses; docs/polynomial.png shows others.",
    data=wave,
    model=partial(polynomial, degree=3),
    task=Regression(ridge=0.0),
    epochs=0,
    batch_size=20,
    optimizer=SGD,
    schedule=partial(constant, rate=0.01),
    expect={"R2": 0.77},
    minutes=0.1,
)
