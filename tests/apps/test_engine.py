"""apps.engine: nothing runs that nobody waits for, nobody waits for what does not run."""

import asyncio
import contextlib
import gc
import threading
import time
import weakref

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from apps.engine import Busy, ClientGone, Engine, TooLate
from apps.metrics import Metrics


@pytest.fixture
def make_engine():
    engines: list[Engine] = []

    def make(**options) -> Engine:
        engines.append(Engine(**options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()
        assert not any(thread.is_alive() for thread in engine._threads)


@pytest.fixture
def hold():
    """hold(engine): one more worker is busy until the test ends, or until the Event that is returned is set."""
    events, threads = [], []

    def occupy(engine: Engine) -> threading.Event:
        release = threading.Event()
        before = engine.running
        thread = threading.Thread(target=engine.run_sync, args=(lambda ticket: release.wait(30),))
        events.append(release)
        threads.append(thread)
        thread.start()
        assert eventually(lambda: engine.running > before)
        return release

    yield occupy
    for event in events:
        event.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


ALLOWED = {
    "stay": {"answered"},
    "late": {"answered", "TooLate"},
    "gone": {"answered", "ClientGone"},
    "cancel": {"answered", "TimeoutError"},
}


def eventually(claim) -> bool:
    end = time.monotonic() + 10
    while not claim() and time.monotonic() < end:
        time.sleep(0.005)
    return claim()


def test_work_gives_its_result_or_its_error(make_engine):
    engine = make_engine()
    assert engine.run_sync(lambda ticket: 6 * 7) == 42
    assert asyncio.run(engine.run(lambda ticket: 6 * 7)) == 42
    for run in (engine.run_sync, lambda work: asyncio.run(engine.run(work))):
        with pytest.raises(ZeroDivisionError):
            run(lambda ticket: 1 / 0)
    assert eventually(engine.idle)


def test_even_system_exit_leaves_the_worker_alive(make_engine):
    engine = make_engine(workers=1)

    def leave(ticket):
        raise SystemExit

    with pytest.raises(SystemExit):
        engine.run_sync(leave)
    assert engine.run_sync(lambda ticket: 1) == 1


def test_as_many_run_as_there_are_workers(make_engine):
    engine = make_engine(workers=3)
    together = threading.Barrier(3)

    async def three():
        return await asyncio.gather(*(engine.run(lambda ticket: together.wait(10)) for _ in range(3)))

    assert sorted(asyncio.run(three())) == [0, 1, 2]


def test_a_full_queue_refuses_and_says_when_to_come_back(make_engine, hold):
    engine = make_engine(workers=1, queue=1, metrics=Metrics())
    release = hold(engine)
    waiting = threading.Thread(target=engine.run_sync, args=(lambda ticket: None,))
    waiting.start()
    assert eventually(lambda: (engine.waiting, engine.running) == (1, 1)) and not engine.idle()
    with pytest.raises(Busy, match="busy") as caught:
        engine.run_sync(lambda ticket: None)
    assert caught.value.retry_after >= 1
    with pytest.raises(Busy):
        asyncio.run(engine.run(lambda ticket: None, gone=asyncio.sleep(60)))
    assert 'kerasdl_rejected_total{reason="busy"} 2.0' in engine.metrics.page().decode()
    release.set()
    waiting.join(10)
    assert eventually(engine.idle)


def test_work_whose_deadline_passes_in_the_queue_never_starts(make_engine, hold):
    engine = make_engine(workers=1, metrics=Metrics())
    release = hold(engine)
    started = []
    for run in (engine.run_sync, lambda work, seconds: asyncio.run(engine.run(work, seconds))):
        began = time.monotonic()
        with pytest.raises(TooLate, match="too long"):
            run(started.append, 0.1)
        assert 0.1 <= time.monotonic() - began < 5 and engine.waiting == 0
    release.set()
    assert engine.run_sync(lambda ticket: "next") == "next"
    assert started == []
    assert 'kerasdl_rejected_total{reason="late"} 2.0' in engine.metrics.page().decode()


def test_a_deadline_may_not_be_later_than_the_servers(make_engine):
    engine = make_engine(deadline=0.1)
    with pytest.raises(TooLate):
        engine.run_sync(lambda ticket: wait_for_cancel(ticket), deadline=60)


def wait_for_cancel(ticket) -> None:
    while True:
        ticket.check()
        time.sleep(0.005)


def test_work_may_shorten_its_own_deadline(make_engine):
    engine = make_engine(deadline=60)

    def hurried(ticket):
        ticket.shorten(0.1)
        ticket.shorten(50)
        while not ticket.cancelled:
            time.sleep(0.005)

    began = time.monotonic()
    with pytest.raises(TooLate):
        asyncio.run(engine.run(hurried))
    assert time.monotonic() - began < 10
    assert eventually(engine.idle)


def test_the_nearest_deadline_is_kept_whatever_the_order(make_engine, hold):
    engine = make_engine(workers=1, queue=10)
    hold(engine)
    late: list[float] = []

    def wait(seconds: float) -> None:
        with pytest.raises(TooLate):
            engine.run_sync(lambda ticket: None, seconds)
        late.append(seconds)

    threads = [threading.Thread(target=wait, args=(seconds,)) for seconds in (1.6, 0.8, 2.4, 0.1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert late == sorted(late) and len(late) == 4


def test_a_client_that_goes_takes_its_waiting_work_with_it(make_engine, hold):
    engine = make_engine(workers=1)
    release = hold(engine)
    started = []
    with pytest.raises(ClientGone):
        asyncio.run(engine.run(started.append, gone=asyncio.sleep(0.05)))
    assert engine.waiting == 0
    release.set()
    engine.run_sync(lambda ticket: None)
    assert started == []


def test_a_caller_that_is_cancelled_takes_its_running_work_with_it(make_engine):
    engine = make_engine(workers=1)
    started = threading.Event()

    def work(ticket):
        started.set()
        wait_for_cancel(ticket)

    async def cancelled():
        task = asyncio.ensure_future(engine.run(work))
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert eventually(engine.idle)


def test_a_watcher_that_fails_means_that_the_client_is_gone_and_leaves_no_noise(make_engine, hold, caplog):
    engine = make_engine(workers=1)
    hold(engine)

    async def fail():
        raise OSError("connection lost")

    with pytest.raises(ClientGone):
        asyncio.run(engine.run(lambda ticket: None, gone=fail()))
    gc.collect()
    assert engine.waiting == 0 and not caplog.records


def test_an_answer_wins_over_a_client_that_stays(make_engine):
    engine = make_engine()

    async def answered():
        watcher = asyncio.ensure_future(asyncio.sleep(60))
        assert await engine.run(lambda ticket: 5, gone=watcher) == 5
        await asyncio.sleep(0)
        assert watcher.cancelled()

    asyncio.run(answered())


@pytest.fixture(scope="module")
def slow_session():
    """A graph of thousands of nodes that takes seconds."""
    side, depth = 300, 3000
    names = ["image", *(f"x{step}" for step in range(depth))]
    nodes = [helper.make_node("MatMul", [names[step], names[step]], [names[step + 1]]) for step in range(depth)]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in (names[0], names[-1])]
    graph = helper.make_graph(nodes, "slow", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_a_session_that_runs_is_stopped_at_the_deadline(make_engine, slow_session):
    engine = make_engine(workers=1)
    array = {"image": np.zeros((300, 300), np.float32)}
    began = time.monotonic()
    slow_session.run(None, array)
    whole = time.monotonic() - began
    began = time.monotonic()
    with pytest.raises(TooLate):
        engine.run_sync(lambda ticket: slow_session.run(None, array, ticket.options), whole / 20)
    assert eventually(engine.idle)
    assert time.monotonic() - began < 0.8 * whole
    assert engine.run_sync(lambda ticket: 1) == 1


def test_nothing_of_a_finished_job_is_held(make_engine):
    """Neither by the thread that waits for the next job nor by an error's traceback, until the garbage collector comes."""
    engine = make_engine(workers=1)

    class Heavy:
        pass

    async def ask(fail: bool, seconds: float | None = None) -> weakref.ref:
        heavy = Heavy()

        def work(ticket, heavy=heavy):
            if seconds is not None:
                wait_for_cancel(ticket)
            if fail:
                raise ValueError("bad")
            return heavy

        with contextlib.suppress(ValueError, TooLate):
            await engine.run(work, seconds, gone=asyncio.sleep(60))
        return weakref.ref(heavy)

    async def all_ends() -> list[weakref.ref]:
        return [await ask(False), await ask(True), await ask(False, 0.05)]

    gc.disable()
    try:
        references = asyncio.run(all_ends())
        assert eventually(lambda: [reference() for reference in references] == [None] * 3)
    finally:
        gc.enable()


def test_closing_ends_what_waits_and_what_runs(make_engine):
    engine = make_engine(workers=1)
    ends: list[str] = []

    def ask() -> None:
        try:
            engine.run_sync(wait_for_cancel)
        except TooLate as error:
            ends.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: (engine.waiting, engine.running) == (2, 1))
    engine.close()
    for thread in threads:
        thread.join(10)
    assert ends == ["The server is stopping."] * 3
    with pytest.raises(Busy):
        engine.run_sync(lambda ticket: None)


def test_a_storm_of_deadlines_and_leavers_loses_nothing(make_engine):
    """Who stays and comes back when refused gets the answer that is its own; afterwards the engine is empty and works."""
    engine = make_engine(workers=2, queue=8, deadline=60)
    rng = np.random.default_rng(0)
    plans = [(index, str(rng.choice(list(ALLOWED))), rng.uniform(0, 0.004)) for index in range(1000)]
    ends: dict[str, list[str]] = {plan: [] for plan in ALLOWED}

    def work(ticket, index, seconds):
        time.sleep(seconds)
        ticket.check()
        return index

    async def ask(index: int, plan: str, seconds: float) -> str:
        late, gone = seconds if plan == "late" else None, seconds if plan == "gone" else 60
        try:
            call = engine.run(lambda ticket: work(ticket, index, seconds), late, gone=asyncio.sleep(gone))
            answer = await (asyncio.wait_for(call, seconds) if plan == "cancel" else call)
            return "answered" if answer == index else "another's answer"
        except (Busy, TooLate, TimeoutError) as error:
            return type(error).__name__

    async def client(mine) -> None:
        for index, plan, seconds in mine:
            while (end := await ask(index, plan, seconds)) == "Busy":
                await asyncio.sleep(0.001)
            ends[plan].append(end)

    async def storm() -> None:
        await asyncio.wait_for(asyncio.gather(*(client(plans[start::15]) for start in range(15))), 100)

    asyncio.run(storm())
    assert sum(map(len, ends.values())) == len(plans)
    assert [plan for plan, found in ends.items() if not set(found) <= ALLOWED[plan]] == []
    assert eventually(engine.idle)
    assert [engine.run_sync(lambda ticket, index=index: index) for index in range(100)] == list(range(100))


def test_settings_that_make_no_sense_are_named():
    with pytest.raises(ValueError, match="workers must be at least 1, queue 0, deadline above 0. Received: 0, 1, 1"):
        Engine(workers=0, queue=1, deadline=1)
