"""What the owner of a machine decides about its sandbox."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.sandbox.lockdown.confinement import Level

__all__ = ["SandboxConfig"]


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """What the owner of the machine decides about the sandbox.

    external      the external workers: name -> command
    level         how code is locked down (see `agent.sandbox.lockdown.confinement`); where the
                  machine cannot, custom code and external workers are refused, the rest goes on
    spares        workers that stand ready; each costs a few MB and saves the start
    output_bytes  the most that an iteration's value, partial and state may have as JSON
    scratch_mb    room for files of an iteration's own, gone after it
    start_timeout_s  how long a job may wait for its worker before the zygote is replaced
    socket        where a service starts a zygote for whoever connects, as another user; without
                  one the zygote is a child of this process, with ``python``
    """

    external: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spares: int = 1
    level: Level = "full"
    output_bytes: int = 1 << 20
    scratch_mb: int = 16
    start_timeout_s: float = 20.0
    python: str = sys.executable
    socket: str = ""
