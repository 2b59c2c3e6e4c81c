"""The sandbox: each iteration of a method runs in a process that can harm only itself.

The way to try custom code is one call::

    from agent.sandbox import Limits, run

    limits = Limits(cpu_s=2, memory_mb=256, wall_s=10)
    outcome = run("def custom(xs): return xs.mean()", samples, limits)
    outcome.status  # ok, error, killed or refused
    outcome.reason  # wall, cpu, memory, syscall, crash, exit, output, result, protocol, traceback
    outcome.value, outcome.detail, outcome.prints

`Sandbox` runs jobs for the agent (on-board half) and the cloud (off-board half); `run` tries custom
code on an array, the way an analyst does at home. `describe` and `check_params` speak for the
built-in methods without running any.
"""

from agent.sandbox.answer import output_bytes
from agent.sandbox.config import SandboxConfig
from agent.sandbox.host import Sandbox
from agent.sandbox.job import Half, Job, Limits, Outcome, RoundInput
from agent.sandbox.lockdown.confinement import LEVELS, Level
from agent.sandbox.lockdown.probe import Layer, check, strongest
from agent.sandbox.methods.method import ParamsError
from agent.sandbox.methods.registry import Description, check_params, describe
from agent.sandbox.recompute import can_recompute, recompute
from agent.sandbox.trial import run, window_of
from agent.sandbox.zygote_process import SandboxUnavailable

__all__ = [
    "LEVELS",
    "Description",
    "Half",
    "Job",
    "Layer",
    "Level",
    "Limits",
    "Outcome",
    "ParamsError",
    "RoundInput",
    "Sandbox",
    "SandboxConfig",
    "SandboxUnavailable",
    "can_recompute",
    "check",
    "check_params",
    "describe",
    "output_bytes",
    "recompute",
    "run",
    "strongest",
    "window_of",
]
