"""Learning rates: their values at the steps that matter, by the formulas of the course and the papers, and their way into a saved model."""

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kerasdl import schedules

ROOT = Path(__file__).parents[2]
DECAYS = {
    "constant": partial(schedules.constant, rate=0.4),
    "step": partial(schedules.step, peak=0.4),
    "exponential": partial(schedules.exponential, peak=0.4),
    "inverse_time": partial(schedules.inverse_time, peak=0.4),
    "inverse_sqrt": partial(schedules.inverse_sqrt, peak=0.4),
    "linear": partial(schedules.linear, peak=0.4),
    "triangular": partial(schedules.triangular, peak=0.4),
    "cosine": partial(schedules.cosine, peak=0.4),
    "one_cycle": partial(schedules.one_cycle, peak=0.4),
    "cosine_cycles": partial(schedules.cosine_cycles, peak=0.4),
}


def values(schedule: Any, steps: Any) -> np.ndarray:
    """What an optimizer would read at each of the steps."""
    return np.array([np.asarray(schedule(s)) if callable(schedule) else schedule for s in steps], "float64")


def close(found, wanted) -> None:
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-7)


# --- warm-up, alike for all ---


@pytest.mark.parametrize("make", DECAYS.values(), ids=DECAYS)
def test_every_schedule_rises_in_a_straight_line_to_its_peak(make):
    """A tenth of 1000 steps, from a quarter of the peak: 0.1 at step 0, 0.25 at step 50, 0.4 at step 100."""
    found = values(make(1000, warmup=0.1, start=0.25), (0, 25, 50, 100))
    if make is DECAYS["cosine_cycles"]:  # its cycles do not move: the rise multiplies the first
        close(found[0], 0.1)
        close(found[2], 0.25 * (1 + math.cos(math.pi * 50 / 200)) / 2)
        close(found[3], 0.4 * (1 + math.cos(math.pi * 100 / 200)) / 2)
    else:
        close(found, [0.1, 0.175, 0.25, 0.4])


@pytest.mark.parametrize("make", DECAYS.values(), ids=DECAYS)
def test_no_schedule_exceeds_its_peak_or_goes_below_zero(make):
    for options in ({}, {"warmup": 0.2}):
        found = values(make(40, **options), range(45))  # a few steps more than planned do no harm
        assert (found >= 0).all() and found.max() <= 0.4 * (1 + 1e-6), options


@pytest.mark.parametrize("make", DECAYS.values(), ids=DECAYS)
def test_a_schedule_is_float32_and_survives_its_config(make):
    for options in ({"warmup": 0.0}, {"warmup": 0.2}):
        schedule = make(50, **options)
        if not callable(schedule):
            assert isinstance(schedule, float)
            continue
        again = keras.optimizers.schedules.deserialize(json.loads(json.dumps(keras.optimizers.schedules.serialize(schedule))))
        assert again is not schedule and type(again) is type(schedule)
        np.testing.assert_array_equal(values(again, range(0, 50, 7)), values(schedule, range(0, 50, 7)))
        for step in [3, np.int64(3), keras.ops.convert_to_tensor(3, dtype="int64")]:
            value: Any = schedule(step)
            assert keras.backend.standardize_dtype(value.dtype) == "float32"


def test_whole_numbers_stay_rates():
    """Keras takes the type of a rate for that of the schedule: from an integer peak all values between would be cut to 0 and 1."""
    for make in DECAYS.values():
        name = "rate" if "rate" in make.keywords else "peak"
        schedule = make(10, **{name: 1, "warmup": 0.2, "start": 0})
        close(values(schedule, [1])[0], 0.5 if make is not DECAYS["cosine_cycles"] else 0.25)


def test_a_run_of_one_step_has_a_rate():
    for name, make in DECAYS.items():
        options = {"cycles": 1} if name == "cosine_cycles" else {}
        close(values(make(1, **options), [0])[0], 0.4)


# --- the fall, by formula ---


def test_constant_without_warmup_is_a_number():
    assert schedules.constant(100, 0.1) == 0.1 and schedules.constant(100) == 1e-3


def test_step_falls_at_the_shares_given():
    """ResNet's 200 epochs with a tenth at 100 and 150; at a step itself the new rate holds."""
    schedule = schedules.step(200, 0.1, at=(0.5, 0.75))
    close(values(schedule, (0, 99, 100, 149, 150, 199)), [0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    schedule = schedules.step(200, 0.1, at=[0.3, 0.6, 0.8], factor=0.2, warmup=0.1)  # shares are of the whole run, warm-up included
    close(values(schedule, (10, 20, 59, 60, 119, 120, 159, 160)), [0.05, 0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008])


def test_exponential_is_the_course_formula():
    """e^-kt with k = 0.1: 0.367879 at t = 10."""
    schedule = schedules.exponential(10, 1.0, end=math.exp(-1))
    close(values(schedule, (0, 5, 10)), [1, math.exp(-0.5), 0.367879])


def test_inverse_time_is_the_course_formula():
    """1 / (1 + kt) with k = 0.1: 0.5 at t = 10."""
    schedule = schedules.inverse_time(10, 1.0, end=0.5)
    close(values(schedule, (0, 5, 10)), [1, 1 / 1.5, 0.5])


def test_inverse_square_root_counts_from_one():
    close(values(schedules.inverse_sqrt(10, 1.0), (0, 3, 8)), [1, 0.5, 1 / 3])  # t = 1, 4, 9
    schedule = schedules.inverse_sqrt(1000, 1.0, warmup=0.1)  # of Vaswani et al.: min(t / w, sqrt(w / t)) with w = 100
    close(values(schedule, (50, 100, 400, 900)), [0.5, 1, 0.5, 1 / 3])


def test_linear_is_the_course_formula():
    t = np.arange(0, 101, 20)
    close(values(schedules.linear(100, 2.0), t), 2.0 * (1 - t / 100))
    close(values(schedules.linear(100, 2.0, end=0.1, warmup=0.5), (75, 100)), [1.1, 0.2])


def test_triangular_has_airbenchs_corners():
    """0.2 of the peak at first, the peak at 23 % of the run, 0.07 of it at the end."""
    close(values(schedules.triangular(1000, 11.5), (0, 115, 230, 615, 1000)), 11.5 * np.array([0.2, 0.6, 1, 0.535, 0.07]))


def test_cosine_is_the_course_formula():
    close(values(schedules.cosine(100, 1.0), (0, 25, 50, 75, 100)), [1, 0.853553, 0.5, 0.146447, 0])
    close(values(schedules.cosine(110, 1.0, end=0.01, warmup=1 / 11), (10, 60, 110)), [1, 0.505, 0.01])


def test_one_cycle_is_a_cosine_with_a_warmup():
    close(values(schedules.one_cycle(100, 0.4), (0, 25, 62.5, 100)), [0.016, 0.4, 0.2, 0])


def test_cosine_cycles_are_those_of_snapshot_ensembles():
    """Equation 2: a0/2 (cos(pi mod(t - 1, ceil(T/M)) / ceil(T/M)) + 1), t from 1."""
    total, cycles = 100, 3
    length = math.ceil(total / cycles)
    t = np.arange(1, total + 1)
    close(values(schedules.cosine_cycles(total, 0.2, cycles), t - 1), 0.1 * (np.cos(math.pi * np.mod(t - 1, length) / length) + 1))
    found = values(schedules.cosine_cycles(100, 0.2, 4), (0, 24, 25, 49, 50, 75))
    close(found[[0, 2, 4, 5]], 0.2)
    assert found[1] < 0.001 and found[3] < 0.001


# --- use ---


def test_the_optimizer_of_a_saved_model_keeps_its_schedule(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(schedules.linear(10, 0.1, warmup=0.5)), "mse", jit_compile=False)
    x = np.ones((4, 3), "float32")
    for _ in range(3):
        model.train_on_batch(x, x[:, :2])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert float(again.optimizer.learning_rate) == pytest.approx(0.06)  # step 3 of a rise of 5
    for net in (model, again):
        net.train_on_batch(x, x[:, :2])
    np.testing.assert_array_equal(model.get_weights()[0], again.get_weights()[0])


@pytest.mark.slow
def test_schedules_have_the_same_values_on_jax():
    steps = [0, 1, 4, 9, 10, 25, 39]
    code = (
        "import json, sys; sys.modules['tensorflow'] = None\n"
        "import keras, numpy as np\nfrom kerasdl import schedules\n"
        "found = {}\n"
        f"for name in {sorted(set(DECAYS) - {'constant'})}:\n"
        "    schedule = getattr(schedules, name)(40, peak=0.4, warmup=0.2)\n"
        "    optimizer = keras.optimizers.SGD(schedule)\n"
        f"    found[name] = [float(schedule(keras.ops.convert_to_tensor(s, dtype='int32'))) for s in {steps}]\n"
        "    assert keras.backend.standardize_dtype(optimizer.learning_rate.dtype) == 'float32', name\n"
        "print(json.dumps(found))\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, found in json.loads(done.stdout.splitlines()[-1]).items():
        close(found, values(getattr(schedules, name)(40, peak=0.4, warmup=0.2), steps))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (partial(schedules.cosine, peak=0), "the peak of a learning rate must be above zero. Received: 0"),
        (partial(schedules.constant, rate=-1.0), "the peak of a learning rate must be above zero. Received: -1.0"),
        (partial(schedules.linear, peak=1, warmup=1.0), "must be in [0, 1). Received: 1.0"),
        (partial(schedules.one_cycle, peak=1, warmup=-0.1), "must be in [0, 1). Received: -0.1"),
        (
            partial(schedules.linear, peak=1, start=1.5),
            "start is the share of the peak that a warm-up begins with, in [0, 1]. Received: 1.5",
        ),
        (partial(schedules.cosine, peak=1, end=2), "left at the end, in [0, 1]. Received: 2"),
        (partial(schedules.exponential, peak=1, end=0), "left at the end, in (0, 1]. Received: 0"),
        (partial(schedules.inverse_time, peak=1, end=0.0), "left at the end, in (0, 1]. Received: 0.0"),
        (partial(schedules.step, peak=1, at=(0.7, 0.5)), "at is increasing shares of the run"),
        (partial(schedules.step, peak=1, at=(0.5, 0.5)), "Received: (0.5, 0.5)"),
        (partial(schedules.step, peak=1, at=(0.5, 1.0)), "before the end"),
        (partial(schedules.step, peak=1, at=()), "Received: ()"),
        (partial(schedules.step, peak=1, at=(0.1, 0.5), warmup=0.2), "after the warm-up"),
        (partial(schedules.step, peak=1, factor=1.0), "factor is what a step leaves of the rate, in (0, 1). Received: 1.0"),
        (partial(schedules.cosine_cycles, peak=1, cycles=0), "cycles is at least 1"),
        (partial(schedules.cosine_cycles, peak=1, cycles=11), "Received: 11 in 10 steps"),
        (partial(schedules.cosine_cycles, peak=1, cycles=5, warmup=0.3), "must end in the first of 5 cycles. Received: warmup=0.3"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError) as problem:
        make(10)
    assert sentence in str(problem.value)
