"""What a training says while it runs: on a terminal one line that renews itself, in a log file a line now and then, an epoch a line.

Images/s and the time left come from the last half minute of training; the first steps, in which the graph is traced and
compiled, count for neither, and validation and checkpoints are timed apart.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import keras

REDRAW = 0.2  # seconds between two states of the live line
LOG_EVERY = 30.0  # seconds between two lines within an epoch where there is no terminal
WINDOW = 30.0  # seconds of training that the speed is measured over
TRACING = 2  # first steps of a process: graph tracing, memory, file caches
BAR = 24  # characters at most


class Progress(keras.callbacks.Callback):
    """Progress of a `fit(..., verbose=0)`; sets `images_per_second` in the logs, so that callbacks after it find it there.

    Args:
        epochs: of the whole run.
        steps: of an epoch.
        batch_size: examples a step.
        done: epochs that a resumed run had finished before.
        lines_only: a line an epoch, nothing in between.
        silent: measures and prints nothing.
        first_step: steps of the first epoch that were done before, where a run resumes within it.
        history: rows of the epochs done before, for the best score and the time so far.
        out, clock: where to write (standard output) and seconds that only grow.
    """

    async_safe = True  # where Keras hands batches to threads (JAX), the device is not waited for: a late batch is ignored

    def __init__(
        self,
        epochs: int,
        steps: int,
        batch_size: int,
        done: int = 0,
        lines_only: bool = False,
        *,
        silent: bool = False,
        first_step: int = 0,
        history: Sequence[Mapping[str, Any]] = (),
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.epochs, self.steps, self.batch_size, self.done = epochs, steps, batch_size, done
        self.lines_only, self.silent = lines_only, silent
        self.out = out or sys.stdout
        self.clock = clock
        self.live = self.out.isatty() and os.environ.get("TERM") != "dumb"
        self.images_per_second = 0.0
        self.best: float | None = None
        for row in history:
            self._is_best(row)
        self.earlier = sum(float(row.get("seconds") or 0) for row in history)
        self.speed = _Speed()
        self.lock = threading.Lock()
        self.first_step = first_step
        self.epoch, self.step, self.before = done, 0, 0
        self.apart = 0.0  # seconds of the last epoch that were not training: validation, checkpoint
        self.started = self.begun = self.drawn = self.mark = clock()

    def on_train_begin(self, logs: Any = None) -> None:
        self.started = self.clock()
        if self.done or self.first_step:
            within = f", step {self.first_step} of the next" if self.first_step else ""
            self._print(f"going on after epoch {self.done} of {self.epochs}{within}")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        now = self.clock()
        self.before = self.first_step if epoch == self.done else 0
        self.epoch, self.step, self.begun, self.mark = epoch, self.before, now, now
        self.speed.next_epoch()
        if not self.live:
            self.drawn = now  # the first line within an epoch comes half a minute after its start

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        with self.lock:
            step = self.before + batch + 1
            if step <= self.step:
                return
            now = self.clock()
            self.speed.add(step - self.step, now - self.mark)
            self.step, self.mark = step, now
            if now - self.drawn >= (REDRAW if self.live else LOG_EVERY):
                self.drawn = now
                self._within_epoch(logs or {})

    def on_test_begin(self, logs: Any = None) -> None:
        if self.live and not (self.silent or self.lines_only):
            self._renew(f"{self._place()}  validating")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs if logs is not None else {}
        self.images_per_second = self.batch_size * self.speed.of_epoch()
        logs["images_per_second"] = round(self.images_per_second, 1)
        now = self.clock()
        self.apart = now - self.mark
        self.epoch, self.step = epoch + 1, 0
        best = " best" if self._is_best(logs) else ""
        values = _values(logs)
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        fields = [
            f"epoch {self._padded(epoch + 1)}/{self.epochs}",
            *(f"{name} {_number(value)}" for name, value in values.items() if not name.startswith("val_")),
            " ".join(f"{name} {_number(value)}" for name, value in values.items() if name.startswith("val_")) + best,
            f"rate {rate:.3g}",
            f"{self.images_per_second:.0f} images/s",
            f"{duration(self.earlier + now - self.started)} so far",
            f"{duration(self._left())} left" if self.epoch < self.epochs else "",
        ]
        fields = [field for field in fields if field]
        self._print(self._fitting(fields, drop=(-3, -3, -2)) if self.live else "  ".join(fields))

    def on_train_end(self, logs: Any = None) -> None:
        if self.live and not self.silent:
            self.out.flush()

    def _within_epoch(self, logs: Mapping[str, float]) -> None:
        if self.silent or self.lines_only:
            return
        speed = self.speed.now()
        fields = [f"{name} {_number(value)}" for name, value in _values(logs).items()]
        if speed:
            here = duration((self.steps - self.step) / speed)
            fields += [f"{speed * self.batch_size:.0f} images/s", f"{here} left, run {duration(self._left())}"]
        if self.live:
            room = shutil.get_terminal_size().columns - len("  ".join([self._place(), *fields])) - 5
            place = f"{self._place()}  {_bar(self.step / self.steps, room)}" if room >= 5 else self._place()
            self._renew(self._fitting([place, *fields], drop=(-2,)))
        else:
            self._print("  ".join([f"{self._place()} step {self.step}/{self.steps}", *fields]))

    def _left(self) -> float:
        """Seconds to the end of the run; the share that is not training is taken from the last epoch."""
        speed = self.speed.now() or self.speed.of_epoch()
        steps = (self.epochs - self.epoch) * self.steps - self.step
        return (steps / speed if speed else 0.0) + (self.epochs - self.epoch) * self.apart

    def _is_best(self, logs: Mapping[str, Any]) -> bool:
        """Whether the validation accuracy (the loss where there is none) is better than in every epoch before."""
        values = _values(logs)
        score = values["val_accuracy"] if "val_accuracy" in values else -values["val_loss"] if "val_loss" in values else None
        if score is None or score != score or (self.best is not None and score <= self.best):
            return False
        first, self.best = self.best is None, score
        return not first

    def _place(self) -> str:
        return f"epoch {self._padded(self.epoch + 1)}/{self.epochs}"

    def _padded(self, epoch: int) -> str:
        return str(epoch).rjust(len(str(self.epochs)))

    def _fitting(self, fields: list[str], drop: tuple[int, ...]) -> str:
        """The fields in one line of the terminal: those at `drop` go first where it is too narrow, then the end is cut."""
        width = shutil.get_terminal_size().columns - 1  # a full line would wrap
        fields = list(fields)
        for place in drop:
            if len("  ".join(fields)) <= width:
                break
            fields.pop(place)
        return "  ".join(fields)[:width]

    def _renew(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self.out.write("\r" + line[:width].ljust(width))
        self.out.flush()

    def _print(self, line: str) -> None:
        if self.silent:
            return
        if self.live:
            self._renew(line)
        self.out.write("\n" if self.live else line + "\n")
        self.out.flush()


class _Speed:
    """Steps a second of training time, over the last WINDOW seconds and over the present epoch, without the first steps."""

    def __init__(self) -> None:
        self.seconds, self.steps = 0.0, 0
        self.points: deque[tuple[float, int]] = deque()
        self.epoch_start = (0.0, 0)
        self.all_of_epoch = (0.0, 0)

    def next_epoch(self) -> None:
        self.epoch_start = self.all_of_epoch = (self.seconds, self.steps)

    def add(self, steps: int, seconds: float) -> None:
        warming = self.steps < TRACING
        self.seconds += seconds
        self.steps += steps
        here = (self.seconds, self.steps)
        if warming:
            self.points.clear()
            self.epoch_start = here
        if not self.points or self.seconds - self.points[-1][0] >= REDRAW:
            self.points.append(here)
        while len(self.points) > 2 and self.seconds - self.points[1][0] >= WINDOW:
            self.points.popleft()

    def now(self) -> float:
        return self._since(self.points[0]) if self.points else 0.0

    def of_epoch(self) -> float:
        """Of an epoch that is all first steps, these."""
        return self._since(self.epoch_start) or self._since(self.all_of_epoch)

    def _since(self, point: tuple[float, int]) -> float:
        seconds = self.seconds - point[0]
        return (self.steps - point[1]) / seconds if seconds > 0 else 0.0


def duration(seconds: float) -> str:
    """For example 0:07, 12:30 or 1:02:03."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _values(logs: Mapping[str, Any]) -> dict[str, float]:
    """Loss and the main metric, then the same of validation; auxiliary outputs' losses are left out."""
    facts = ("epoch", "learning_rate", "seconds", "images_per_second")
    plain = {re.sub("^(val_)?logits_(?!loss)", r"\1", name): value for name, value in logs.items()}
    other = [n for n in plain if not n.startswith("val_") and not n.endswith("loss") and n not in facts]
    names = ["loss", *([n for n in other if n == "accuracy"] or other[:1])]
    return {p + n: float(plain[p + n]) for p in ("", "val_") for n in names if plain.get(p + n) not in (None, "")}


def _bar(share: float, room: int) -> str:
    size = min(room, BAR)
    filled = min(round(size * share), size)
    return f"[{'=' * filled}{' ' * (size - filled)}]"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"
