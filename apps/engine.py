"""One bounded queue and a few threads for all work of the server: what does not fit is refused, what comes too late is dropped.

result = await engine.run(lambda ticket: bundle.run(inputs, options=ticket.options))
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Generic, TypeVar

import onnxruntime as ort

T = TypeVar("T")


class Busy(Exception):
    """The queue is full. `retry_after` guesses the seconds until it is not."""

    reason = "busy"

    def __init__(self, retry_after: int = 1):
        super().__init__("The server is busy. Try again in a moment.")
        self.retry_after = retry_after


class TooLate(Exception):
    """The work had not ended at its deadline and was dropped."""

    reason = "late"

    def __init__(self, sentence: str = "The answer took too long and was dropped."):
        super().__init__(sentence)


class ClientGone(TooLate):
    """Nobody waits for the answer any more."""

    reason = "gone"

    def __init__(self):
        super().__init__("The client went away before its answer was ready.")


class Ticket:
    """What a piece of work knows of its own end: `options` stop a running session, `check` stops everything else."""

    def __init__(self, engine: Engine, seconds: float):
        self.options = ort.RunOptions()
        self.cancelled = False
        self.started = time.monotonic()
        self.ends = self.started + seconds
        self._engine = engine

    def check(self) -> None:
        """TooLate when the deadline has passed or the client is gone; call it between the steps of long work."""
        if self.cancelled or time.monotonic() >= self.ends:
            raise TooLate

    def shorten(self, seconds: float) -> None:
        """The deadline becomes `seconds` after the work was handed in, if that is sooner."""
        if self.started + seconds < self.ends:
            self.ends = self.started + seconds
            self._engine.look_again()
        self.check()

    def cancel(self) -> None:
        self.cancelled = True
        self.options.terminate = True  # onnxruntime looks at it before every node


class Job(Generic[T]):
    """Work, its ticket and where its result goes. Whoever settles the future first wins: worker, deadline or client."""

    def __init__(self, work: Callable[[Ticket], T], ticket: Ticket):
        self.work, self.ticket = work, ticket
        self.future: Future[T] = Future()

    def settle(self, result: Any = None, error: BaseException | None = None) -> None:
        with contextlib.suppress(InvalidStateError):
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)


class Engine:
    """`workers` threads take work from a queue of at most `queue`; one more thread ends what has passed its deadline."""

    def __init__(self, workers: int = 2, queue: int = 32, deadline: float = 30.0, metrics: Any = None):
        if workers < 1 or queue < 0 or deadline <= 0:
            raise ValueError(f"workers must be at least 1, queue 0, deadline above 0. Received: {workers}, {queue}, {deadline}")
        self.workers, self.queue, self.deadline, self.metrics = workers, queue, deadline, metrics
        self._lock = threading.Lock()
        self._work_came = threading.Condition(self._lock)
        self._deadline_came_nearer = threading.Condition(self._lock)
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._watched = math.inf  # when the watch will look next
        self._closed = False
        self._mean = 0.0  # seconds of work, lately
        names = [f"engine-{number}" for number in range(workers)]
        self._threads = [threading.Thread(target=self._serve, name=name, daemon=True) for name in names]
        self._threads.append(threading.Thread(target=self._watch, name="engine-watch", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._running)

    def idle(self) -> bool:
        with self._lock:
            return not self._waiting and not self._running

    async def run(self, work: Callable[[Ticket], T], deadline: float | None = None, gone: Awaitable | None = None) -> T:
        """The work's result. Busy, TooLate, or ClientGone when `gone` ends first; the caller's cancellation drops the work too."""
        watcher = None if gone is None else asyncio.ensure_future(gone)
        job = answer = None
        try:
            job = self._submit(work, deadline)
            answer = asyncio.wrap_future(job.future)
            if watcher is not None:
                await asyncio.wait({answer, watcher}, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    raise ClientGone
            return await answer
        except (Busy, TooLate) as problem:
            self._count(problem)
            raise
        finally:
            if watcher is not None and not watcher.cancel() and not watcher.cancelled():
                watcher.exception()  # looked at, or asyncio would log it as forgotten
            if answer is not None:
                answer.cancel()
            if job is not None:
                self._drop(job)
            del watcher, job, answer  # an exception holds this frame: arrays must not wait for the garbage collector

    def run_sync(self, work: Callable[[Ticket], T], deadline: float | None = None) -> T:
        """The same for a caller that has a thread of its own to wait in (never one of the engine's)."""
        job = None
        try:
            job = self._submit(work, deadline)
            return job.future.result()
        except (Busy, TooLate) as problem:
            self._count(problem)
            raise
        finally:
            if job is not None:
                self._drop(job)
            del job

    def look_again(self) -> None:
        """A deadline has been moved forward."""
        with self._lock:
            self._deadline_came_nearer.notify()

    def close(self, seconds: float = 5.0) -> None:
        """No more work is taken, what waits is refused, what runs is told to stop; the threads end."""
        with self._lock:
            self._closed = True
            dropped = [*self._waiting, *self._running]
            self._waiting.clear()
            self._work_came.notify_all()
            self._deadline_came_nearer.notify_all()
        for job in dropped:
            job.ticket.cancel()
            job.settle(error=TooLate("The server is stopping."))
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _count(self, problem: Busy | TooLate) -> None:
        if self.metrics is not None:
            self.metrics.rejected.labels(problem.reason).inc()

    def _submit(self, work: Callable[[Ticket], T], deadline: float | None) -> Job[T]:
        job = Job(work, Ticket(self, self.deadline if deadline is None else min(deadline, self.deadline)))
        with self._lock:
            if self._closed or len(self._waiting) + len(self._running) >= self.workers + self.queue:
                raise Busy(self._retry_after())
            self._waiting.append(job)
            self._work_came.notify()
            if job.ticket.ends < self._watched:
                self._deadline_came_nearer.notify()
        return job

    def _retry_after(self) -> int:
        seconds = self._mean * (len(self._waiting) + len(self._running)) / self.workers
        return max(1, math.ceil(min(seconds, self.deadline)))

    def _drop(self, job: Job) -> None:
        """Nobody waits for the job: out of the queue with it, or its session is told to stop. Nothing happens to one that has ended."""
        with self._lock:
            if job in self._running:
                job.ticket.cancel()
            elif not job.future.done() or job.future.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiting.remove(job)
        job.future.cancel()

    def _serve(self) -> None:
        while self._serve_one():
            pass

    def _serve_one(self) -> bool:
        """Returns between two jobs, so that nothing of the last one is held while waiting for the next."""
        with self._lock:
            while not self._waiting and not self._closed:
                self._work_came.wait()
            if self._closed:
                return False
            job = self._waiting.popleft()
            self._running.add(job)
        began = time.monotonic()
        result = error = None
        try:
            job.ticket.check()
            result = job.work(job.ticket)
        except BaseException as problem:  # whatever it is, it belongs to who handed the work in; the thread lives on
            error = TooLate() if job.ticket.cancelled else problem
        seconds = time.monotonic() - began
        with self._lock:
            self._running.discard(job)
            self._mean += 0.1 * (seconds - self._mean)
        job.settle(result, error)
        del job, result, error  # an error holds this frame
        return True

    def _watch(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                now = time.monotonic()
                live = [job for job in (*self._waiting, *self._running) if not job.ticket.cancelled]
                late = [job for job in live if job.ticket.ends <= now]
                if not late:
                    self._watched = min((job.ticket.ends for job in live), default=math.inf)
                    del live, late
                    self._deadline_came_nearer.wait(None if self._watched == math.inf else self._watched - now)
                    continue
                for job in late:
                    job.ticket.cancel()
                    with contextlib.suppress(ValueError):
                        self._waiting.remove(job)
            for job in late:
                job.settle(error=TooLate())
            del job, live, late
