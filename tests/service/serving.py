"""A server of one's own for a measurement: started as a person starts it, watched from outside, stopped by SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MB = 1_000_000


class OwnServer:
    """`python -m apps` on a free port of this machine; what it says goes into a file."""

    def __init__(self, bundles: Path, log: Path, *options: str):
        self.log = log
        command = [sys.executable, "-m", "apps", "--bundles", str(bundles), "--port", "0", *options]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), "GRADIO_ANALYTICS_ENABLED": "False"}
        begin = time.monotonic()
        with log.open("w") as stream:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        self.port = self._wait_until_ready()
        self.start_seconds = time.monotonic() - begin

    def _wait_until_ready(self) -> int:
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"Ready: http://127\.0\.0\.1:(\d+)", self.log.read_text()):
                return int(found[1])
            time.sleep(0.1)
        self.kill()
        raise SystemExit(f"the server did not start: {self.log.read_text()[-2000:]}")

    def megabytes(self) -> float:
        """Its memory now."""
        return resident(self.process.pid)

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """The exit status after SIGTERM."""
        self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def resident(pid: int) -> float:
    """MB of memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB
