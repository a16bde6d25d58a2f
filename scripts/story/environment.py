"""The virtual environment with the pinned packages, made on first use, and what the figures depend on.

Responsible for: finding or making the environment's Python. Not responsible for: anything that runs in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REQUIREMENTS = HERE / "requirements.txt"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardlift"


class Missing(Exception):
    """Something that the user has to install, with how."""


def say(text: str) -> None:
    print(f"story: {text}", file=sys.stderr, flush=True)


def binary() -> Path:
    """The shardlift that serves as the embedded broker."""
    chosen = os.environ.get("SHARDLIFT")
    path = Path(chosen) if chosen else Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/shardlift"
    if not os.access(path, os.X_OK):
        raise Missing(f"there is no {path}: cargo build --release -p cli, or SHARDLIFT=/path/to/shardlift")
    return path.resolve()


def python() -> Path:
    """The environment's Python. An environment of other requirements or of another Python is made anew."""
    folder = CACHE / "story-venv"
    program, stamp = folder / "bin/python", folder / "made-of"
    wanted = f"{platform.python_version()} {hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "story-venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another story may be making it
        if not (os.access(program, os.X_OK) and stamp.is_file() and stamp.read_text() == wanted):
            make(folder)
            stamp.write_text(wanted)
    return program


def make(folder: Path) -> None:
    """The packages come as wheels whose hashes are pinned: nothing is compiled, nothing else is taken."""
    try:
        import ensurepip  # noqa: F401 (Debian keeps it in a package of its own)
        import venv
    except ImportError as error:
        raise Missing("Python's venv is missing: apt-get install python3-venv (or this system's name for it)") from error
    say(f"making {folder} (once)")
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip: list[str | Path] = [folder / "bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    try:
        subprocess.run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", REQUIREMENTS], check=True, stdout=sys.stderr)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Missing(f"pip can't install {REQUIREMENTS.name} (the reason stands above); it needs a package index such as PyPI "
                      "and wheels for this Python and processor") from error


def machine() -> dict[str, object]:
    """Where it ran."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in processors if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processors": len(os.sched_getaffinity(0)),
        "processor": model,
        "memory_bytes": memory,
        "python": platform.python_version(),
        "started": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
