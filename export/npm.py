"""Packages of npm, for what runs in Node.js or in a browser: onnxruntime-node and onnxruntime-web. Fetched once, kept in a cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "kerasdl" / "npm"
VERSIONS = {"onnxruntime-web": "1.30.0", "onnxruntime-node": "1.30.0"}
SECONDS = 600
# onnxruntime-node would fetch CUDA's libraries from elsewhere when it is installed
ENVIRONMENT = {"ONNXRUNTIME_NODE_INSTALL": "skip", "npm_config_update_notifier": "false", "npm_config_fund": "false"}


class Unavailable(Exception):
    """The runtime cannot be had on this machine; the message is a sentence that says why."""


def node() -> str:
    """The program Node.js; Unavailable where there is none."""
    return program("node")


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise Unavailable(f"{name} must be on this machine. Received: no program of that name (Debian: apt-get install nodejs npm)")
    return found


def package(name: str, cache: Path = CACHE) -> Path:
    """The folder of an npm package in the version of VERSIONS, its own packages beside it; Unavailable where npm cannot fetch it.

    A folder appears in the cache when it is whole.
    """
    version = VERSIONS[name]
    home = cache / f"{name}-{version}"
    wanted = home / "node_modules" / name
    if wanted.is_dir():
        return wanted
    npm = program("npm")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}.") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        command = [npm, "install", "--prefix", str(fresh), "--no-audit", "--no-package-lock", "--ignore-scripts", f"{name}@{version}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env={**os.environ, **ENVIRONMENT}, cwd=fresh)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"npm must fetch {name} {version} within {SECONDS} s. Received: no answer") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
            raise Unavailable(f"npm must fetch {name} {version}. Received: {lines[0].strip()[:200]}")
        try:
            fresh.rename(home)
        except OSError:  # another process was faster
            if not wanted.is_dir():
                raise
    return wanted
