"""What the tests of several files share: one process in which Keras runs on JAX and TensorFlow does not exist."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

WORKER = """
import json, os, sys, traceback
for absent in ("tensorflow", "tensorflow_datasets"):
    sys.modules[absent] = None
answers, sys.stdout = sys.stdout, sys.stderr
import keras
for line in sys.stdin:
    code, question = json.loads(line)
    keras.backend.clear_session()
    names = {"question": question, "answer": None}
    try:
        assert keras.backend.backend() == "jax"
        exec(code, names)
        said = [names["answer"], None]
    except Exception:
        said = [None, traceback.format_exc()]
    print(json.dumps(said), file=answers, flush=True)
"""


@pytest.fixture(scope="session")
def on_jax() -> Any:
    """A function (code, question=None): runs the code where the JSON value `question` is known, and gives what it leaves in `answer`.

    The first call starts the process, in seconds; the others find it there. Whatever the code raises is an AssertionError here.
    """
    with tempfile.TemporaryFile("w+") as log:
        processes: list[subprocess.Popen[str]] = []

        def ask(code: str, question: Any = None) -> Any:
            if not processes:
                processes.append(_start(log))
            said = _answer(processes[0], [code, question])
            assert said, f"the process on JAX ended: {_tail(log)}"
            answer, problem = json.loads(said)
            assert problem is None, problem
            return answer

        yield ask
        for process in processes:
            process.communicate(timeout=60)  # closes its input, at which it ends


def _start(log: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )


def _answer(process: subprocess.Popen[str], message: Any, seconds: float = 300) -> str:
    """A line of the process, or nothing when it ends or says nothing in time."""
    assert process.stdin and process.stdout
    late = threading.Timer(seconds, process.kill)
    late.start()
    try:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        return process.stdout.readline()
    finally:
        late.cancel()


def _tail(log: Any) -> str:
    log.seek(0)
    return log.read()[-3000:]
