"""Starts processes that end with us: at the end of a block, on an exception, on Ctrl-C, and when we are killed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

PR_SET_PDEATHSIG = 1
ENDING = (signal.SIGINT, signal.SIGTERM)
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """To be called first in a child: the kernel kills it when its parent has gone."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def child(argv: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own, so that Ctrl-C reaches us alone, and its whole group ends when the block does."""
    parent = os.getpid()
    # A signal between fork and the child's own session is ours; taken there it would be an exception in the middle of the fork.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    def begin() -> None:
        die_with_parent(parent)
        for ending in ENDING:
            signal.signal(ending, signal.SIG_IGN)  # forgets one that has come
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for ending in ENDING:
            signal.signal(ending, signal.SIG_DFL)

    try:
        process = subprocess.Popen([str(word) for word in argv], text=True, start_new_session=True, preexec_fn=begin, **options)
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    with process:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield process
        finally:
            # It removes its own files first; what is left of its group then goes too.
            with suppress(subprocess.TimeoutExpired):
                process.terminate()
                process.wait(5)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
