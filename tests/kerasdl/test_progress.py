"""What a training says: speed, time left, best epochs, on a terminal and in a log file, with a clock that the tests turn."""

import io
import types

import keras
import numpy as np
import pytest

from kerasdl.progress import Progress, duration


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(out, epochs=2, steps=10, batch_size=8, **options):
    clock = Clock()
    callback = Progress(epochs, steps, batch_size, out=out, clock=clock, **options)
    callback.set_model(types.SimpleNamespace(optimizer=types.SimpleNamespace(learning_rate=np.float32(0.05))))
    callback.on_train_begin()
    return callback, clock


def run_epoch(callback, clock, epoch, seconds, val_accuracy=0.5, steps=None, validation=0.0):
    """`seconds` of each step; validation takes its own."""
    callback.on_epoch_begin(epoch)
    for step in range(steps or callback.steps):
        clock.now += seconds[step] if isinstance(seconds, list) else seconds
        callback.on_train_batch_end(step, {"loss": 2.0, "accuracy": 0.25})
    callback.on_test_begin()
    clock.now += validation
    logs = {"loss": 2.0, "accuracy": 0.25, "val_loss": 1.5, "val_accuracy": val_accuracy}
    callback.on_epoch_end(epoch, logs)
    return logs


def test_images_per_second_leave_out_tracing_and_validation():
    callback, clock = progress(io.StringIO())
    logs = run_epoch(callback, clock, 0, [50.0, 3.0] + [0.5] * 8, validation=70)
    assert callback.images_per_second == 8 / 0.5
    assert logs["images_per_second"] == 16.0, "for the callbacks after it"
    run_epoch(callback, clock, 1, 0.25)
    assert callback.images_per_second == 8 / 0.25


def test_an_epoch_of_two_steps_has_a_speed_too():
    callback, clock = progress(io.StringIO(), steps=2)
    run_epoch(callback, clock, 0, [6.0, 2.0])
    assert callback.images_per_second == 16 / 8


def test_a_log_file_gets_a_line_an_epoch_and_no_control_characters():
    log = io.StringIO()
    callback, clock = progress(log)
    run_epoch(callback, clock, 0, 0.5, val_accuracy=0.5, validation=5)
    run_epoch(callback, clock, 1, 0.5, val_accuracy=0.625, validation=5)
    assert log.getvalue().splitlines() == [
        # left: 10 steps of 0.5 s and as much validation as before
        "epoch 1/2  loss 2.0000  accuracy 0.2500  val_loss 1.5000 val_accuracy 0.5000  rate 0.05  16 images/s  0:10 so far  0:10 left",
        "epoch 2/2  loss 2.0000  accuracy 0.2500  val_loss 1.5000 val_accuracy 0.6250 best  rate 0.05  16 images/s  0:20 so far",
    ]


def test_a_long_epoch_in_a_log_file_gets_a_line_every_half_minute():
    log = io.StringIO()
    callback, clock = progress(log, epochs=3, steps=100)
    run_epoch(callback, clock, 0, 1.0)
    lines = log.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "epoch 1/3 step 30/100",
        "epoch 1/3 step 60/100",
        "epoch 1/3 step 90/100",
        "epoch 1/3",
    ]
    assert lines[0].endswith("8 images/s  1:10 left, run 4:30")
    log.truncate(0)
    callback, clock = progress(log, steps=100, lines_only=True)
    run_epoch(callback, clock, 0, 1.0)
    assert len(log.getvalue().splitlines()) == 1


def test_the_terminal_line_renews_itself_within_its_width(monkeypatch):
    for columns in (40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        screen = Screen()
        callback, clock = progress(screen, steps=100)
        run_epoch(callback, clock, 0, 0.0625, steps=50)
        states = screen.getvalue().split("\n")[0].split("\r")[1:]
        assert all(len(state) == columns - 1 for state in states), "each covers what stood there, and none wraps"
        assert 8 <= len(states) <= 17, "3.1 s: five a second at most, one for validation, one for the end"
        assert screen.getvalue().count("\n") == 1
    assert "[============            ]" in states[-3] and "128 images/s  0:03 left, run 0:10" in states[-3]
    assert states[-2].strip() == "epoch 1/2  validating"


def test_a_dumb_terminal_is_a_log_file(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    callback, clock = progress(screen)
    run_epoch(callback, clock, 0, 0.5)
    assert "\r" not in screen.getvalue()


def test_a_resumed_run_goes_on_counting_and_knows_the_best_before():
    log = io.StringIO()
    history = [{"epoch": 1, "val_accuracy": 0.75, "seconds": 60.0}, {"epoch": 2, "val_accuracy": 0.5, "seconds": 60.0}]
    callback, clock = progress(log, epochs=4, done=2, history=history)
    run_epoch(callback, clock, 2, 1.0, val_accuracy=0.7)
    run_epoch(callback, clock, 3, 1.0, val_accuracy=0.8)
    first, third, fourth = log.getvalue().splitlines()
    assert first == "going on after epoch 2 of 4"
    assert third.startswith("epoch 3/4") and "best" not in third and third.endswith("2:10 so far  0:10 left")
    assert fourth.startswith("epoch 4/4") and "val_accuracy 0.8000 best" in fourth


def test_a_run_resumed_within_an_epoch_counts_the_steps_done_before():
    log = io.StringIO()
    callback, clock = progress(log, steps=100, done=0, first_step=60)
    run_epoch(callback, clock, 0, 20.0, steps=40)
    first, within, *_ = log.getvalue().splitlines()
    assert first == "going on after epoch 0 of 2, step 60 of the next"
    assert within.startswith("epoch 1/2 step 62/100")
    run_epoch(callback, clock, 1, 20.0)
    assert "epoch 2/2 step 2/100" in log.getvalue()


def test_a_batch_that_comes_late_does_not_turn_the_count_back():
    callback, clock = progress(io.StringIO())
    callback.on_epoch_begin(0)
    for step in (0, 1, 3, 2, 4):
        clock.now += 1
        callback.on_train_batch_end(step, {})
    assert callback.step == 5 and callback.speed.steps == 5


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")])
def test_durations_read_as_clocks(seconds, text):
    assert duration(seconds) == text


def fitted(callback, validation=True, epochs=2):
    image = keras.Input((3,), name="image")
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(image))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.25), loss, metrics=["accuracy"], jit_compile=False)
    x, y = np.ones((32, 3), "float32"), np.ones(32, "int64")
    model.fit(x, y, batch_size=4, epochs=epochs, verbose=0, callbacks=[callback], validation_data=(x, y) if validation else None)  # pyright: ignore
    return model


def test_keras_fit_drives_it():
    log = io.StringIO()
    model = fitted(Progress(2, 8, 4, out=log))
    lines = log.getvalue().splitlines()
    assert [line[:9] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "rate 0.25" in lines[0] and "val_loss" in lines[0] and lines[1].count(" best") == 0, "accuracy was 1 from the start"
    assert model.history.history["images_per_second"][1] > 0


def test_without_validation_and_silent():
    log = io.StringIO()
    fitted(Progress(1, 8, 4, out=log), validation=False, epochs=1)
    assert "val_" not in log.getvalue() and log.getvalue().count("\n") == 1
    log = io.StringIO()
    silent = Progress(1, 8, 4, out=log, silent=True)
    fitted(silent, epochs=1)
    assert log.getvalue() == "" and silent.images_per_second > 0
