"""The embedded broker that all runs share: `shardlift broker` with an injected round-trip time."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from children import child
from environment import Missing, binary

TOPIC = "story"
PARTITIONS = 16


@contextmanager
def embedded_broker(rtt_ms: float) -> Iterator[str]:
    """Its address, while the block lasts."""
    program = binary()
    words = ["broker", "--rtt", f"{rtt_ms * 1000:.0f}us", "--topic", TOPIC, "--partitions", PARTITIONS]
    with child([program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise Missing(f"{program} {' '.join(map(str, words))} ended without an address (its reason stands above)")
        yield address
