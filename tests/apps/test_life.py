"""The life of a server: red until warm, red before the door closes, nothing lost between."""

import json
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

COLORS = "colors-templates"


@pytest.fixture
def folder(bundles: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundles / COLORS, tmp_path / "saved_models" / COLORS)
    return tmp_path / "saved_models"


def red(folder: Path) -> bytes:
    return (folder / COLORS / "examples" / "red-0.png").read_bytes()


def address_of(server) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return host, int(port)


def half_sent(server, body: bytes) -> socket.socket:
    """A request of which the server has the head and half of the body."""
    connection = socket.create_connection(address_of(server), timeout=120)
    head = f"POST /api/classify?model={COLORS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body[: len(body) // 2])
    return connection


def answer_of(connection: socket.socket) -> tuple[int, dict]:
    head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def is_open(server) -> bool:
    try:
        socket.create_connection(address_of(server), timeout=5).close()
        return True
    except ConnectionError:
        return False


def test_sigterm_turns_readiness_red_then_closes_the_door_and_lets_requests_finish(folder, tmp_path, own_server):
    server = own_server(folder, tmp_path / "sockets.log", "--drain-seconds", "3", "--log-format", "json")
    picture = red(folder)
    with (
        httpx.Client(base_url=server.url, timeout=60) as api,
        half_sent(server, picture) as waiting,
        api.stream("GET", page_stream(api)) as page,
    ):
        assert page.status_code == 200 and api.get("/healthz/ready").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: api.get("/healthz/ready").status_code == 503)
        draining = api.get("/healthz/ready")
        assert draining.json()["status"] == "draining" and draining.headers["connection"] == "close"
        assert api.get("/v2/health/ready").status_code == 503 and api.get("/healthz/live").status_code == 200
        served = api.post("/api/classify", params={"model": COLORS}, content=picture)  # still served: who asks has not heard yet
        assert served.status_code == 200 and served.json()["label"] == "red"
        wait_until(lambda: not is_open(server))
        assert server.process.poll() is None
        waiting.sendall(picture[len(picture) // 2 :])
        status, answer = answer_of(waiting)
    assert (status, answer["label"]) == (200, "red")
    assert server.process.wait(60) == 0
    assert any("draining" in line for line in server.lines) and not any("Traceback" in line for line in server.lines)


def page_stream(api: httpx.Client) -> str:
    """The stream that an open page holds; it has no end of its own and must not keep the server up."""
    assert api.get("/").status_code == 200
    return "/gradio_api/heartbeat/0123456789"


def test_ctrl_c_stops_within_moments_even_while_a_request_hangs(folder, tmp_path, own_server):
    server = own_server(folder, tmp_path / "sockets.log", "--body-seconds", "300")
    with half_sent(server, red(folder)):
        time.sleep(0.5)
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
        assert time.monotonic() - began < 25
    assert not any("KeyboardInterrupt" in line for line in server.lines)


def test_sighup_looks_at_the_bundles_again_and_drops_no_request(bundles, folder, tmp_path, own_server):
    server = own_server(folder, tmp_path / "sockets.log", "--log-format", "json")
    picture, statuses, stop = red(folder), [], threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as api:
            while not stop.is_set():
                statuses.append(api.post("/api/classify", params={"model": COLORS}, content=picture).status_code)

    def reloads() -> int:
        return sum("looked at the bundles again" in line for line in server.lines)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    shutil.copytree(bundles / "digits-templates", folder / ".coming")
    (folder / ".coming").rename(folder / "digits-templates")
    with httpx.Client(base_url=server.url, timeout=60) as api:
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: api.get("/v2/models/digits-templates/ready").status_code == 200)
        wait_until(lambda: reloads() == 1)

        (folder / "digits-templates" / "model.onnx").write_bytes(b"x")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "digits-templates" in api.get("/healthz/ready").json()["refused"])
        assert api.get("/healthz/ready").status_code == 200, "the old one serves on"
        wait_until(lambda: reloads() == 2)

        shutil.rmtree(folder / "digits-templates")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: api.get("/v2/models/digits-templates").status_code == 404)
        stop.set()
        for client in clients:
            client.join()
        assert len(statuses) > 4 and set(statuses) == {200}
        figures = api.get("/metrics").text
    assert 'kerasdl_reloads_total{result="refused"} 1.0' in figures and 'kerasdl_reloads_total{result="removed"} 1.0' in figures
    assert f'kerasdl_model_loaded{{model="{COLORS}"}} 1.0' in figures


def test_the_door_is_open_and_readiness_red_until_the_bundles_are_warm(folder, tmp_path, rewrite_card, own_server):
    with (folder / COLORS / "large.bin").open("wb") as file:
        file.truncate(600_000_000)  # holes only: no room on the disk, but a second of sha256
    rewrite_card(folder / COLORS)
    seen: list[tuple[int, str, int]] = []

    def watch(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as api:
            while not seen or seen[-1][0] != 200:
                ready = api.get("/healthz/ready")
                seen.append((ready.status_code, ready.json()["status"], api.get("/config").status_code))

    server = own_server(folder, tmp_path / "sockets.log", on_start=lambda url: threading.Thread(target=watch, args=(url,)).start())
    wait_until(lambda: bool(seen) and seen[-1][0] == 200)
    assert seen[0] == (503, "starting", 503) and seen[-1][:2] == (200, "ready")
    assert server.process.poll() is None
