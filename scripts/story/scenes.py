"""What is run: the settings of each scene, under the conditions that are the same for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

RTT_MS = 10.0
WAIT_MS = 2.5
CPU_MS = 0.3
HEAVY_CPU_MS = 2.0
GREEN = (2, 7, 14, 28)
PROCESSES = (2, 4, 7, 14)


@dataclass(frozen=True)
class Setting:
    """A row: who steps how many workers, and what each record costs beside its flush."""

    variant: str
    workers: int = 1
    shared_producer: bool = False
    wait_ms: float = WAIT_MS
    cpu_ms: float = CPU_MS

    def asked(self) -> dict[str, object]:
        return asdict(self)

    def producers(self) -> int:
        return 1 if self.shared_producer else self.workers

    def __str__(self) -> str:
        shared = " shared" if self.shared_producer else ""
        load = "" if (self.wait_ms, self.cpu_ms) == (WAIT_MS, CPU_MS) else f", wait {self.wait_ms:g} ms, CPU {self.cpu_ms:g} ms"
        return f"{self.variant} {self.workers}{shared}{load}"


@dataclass(frozen=True)
class WebSetting:
    """A row of the web scene."""

    flush: str
    shared_producer: bool = False
    clients: int = 8
    others: int = 2
    pause_ms: float = 1

    def asked(self) -> dict[str, object]:
        return {"variant": "web", **asdict(self)}

    def producers(self) -> int:
        return 1 if self.shared_producer else self.clients

    def __str__(self) -> str:
        return f"web {self.flush}{' shared' if self.shared_producer else ''}"


REFERENCE = Setting("single")
FLUSH_ALONE = Setting("single", wait_ms=0, cpu_ms=0)

SCENES: dict[str, Sequence[Setting | WebSetting]] = {
    "single": [REFERENCE, FLUSH_ALONE],
    "green-blocking": [Setting("green-blocking", n, shared) for shared in (False, True) for n in GREEN],
    "green-cooperative": [
        *(Setting("green-cooperative", n, shared) for shared in (False, True) for n in GREEN),
        *(Setting("green-cooperative", 28, shared, cpu_ms=HEAVY_CPU_MS) for shared in (False, True)),
    ],
    "processes": [Setting("processes", n) for n in PROCESSES],
    "heartbeat": [Setting("green-blocking", wait_ms=0, cpu_ms=0), Setting("green-cooperative", wait_ms=0, cpu_ms=0)],
    "web": [WebSetting(flush, shared) for shared in (False, True) for flush in ("blocking", "cooperative")],
}


def settings(names: Sequence[str]) -> list[Setting | WebSetting]:
    """Those of some scenes, each once. What has a relative speed needs its reference, which comes first."""
    chosen = [setting for name in names for setting in SCENES[name]]
    if any(isinstance(setting, Setting) for setting in chosen):
        chosen.insert(0, REFERENCE)
    return list(dict.fromkeys(chosen))
