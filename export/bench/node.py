"""onnxruntime-node: a process of Node.js on a pipe, its sessions open as long as the bench asks."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from export import npm
from export.bench import frames
from export.bench.runtimes import Call, Opened, Subject, size_of
from export.parity import Arrays

WORKER = Path(__file__).with_name("node_worker.mjs")


@contextmanager
def opened(subject: Subject, threads: int) -> Iterator[Opened]:
    """Unavailable where Node.js or the package cannot be had, RuntimeError where the runtime refuses a graph or breaks down."""
    package = "onnxruntime-node"
    program, home = npm.node(), npm.package(package)
    files = json.dumps({name: str(path.resolve()) for name, path in subject.files.items()})
    with tempfile.TemporaryFile() as complaints:
        command = [program, str(WORKER), str(home), str(threads), files]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints)
        try:
            ready, _ = receive(process, complaints)
            calls = {name: caller(process, complaints, name) for name in subject.files}
            yield Opened(calls, threads, size_of(subject), {package: npm.VERSIONS[package], "Node.js": ready["node"]})
        finally:
            process.kill()
            process.communicate()


def caller(process: subprocess.Popen[bytes], complaints: IO[bytes], graph: str) -> Call:
    def call(feeds: Arrays) -> tuple[Arrays, float]:
        frame = frames.pack({"graph": graph}, feeds)
        assert process.stdin is not None
        try:
            process.stdin.write(len(frame).to_bytes(4, "little") + frame)
            process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(last_words(process, complaints)) from None
        header, found = receive(process, complaints)
        return found, header["ms"]

    return call


def receive(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> tuple[dict[str, Any], Arrays]:
    assert process.stdout is not None
    length = process.stdout.read(4)
    frame = process.stdout.read(int.from_bytes(length, "little")) if len(length) == 4 else b""
    if not frame:
        raise RuntimeError(last_words(process, complaints))
    return frames.unpack(frame)


def last_words(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> str:
    code = process.wait(10)
    complaints.seek(0)
    lines = [line for line in complaints.read().decode(errors="replace").splitlines() if line.strip()]
    return f"Node.js ended with code {code}: {next((line for line in lines if 'Error' in line), lines[-1] if lines else 'no word')}"
