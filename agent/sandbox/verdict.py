"""Judge what was seen of a job: a pure decision, from `Observed` to `Outcome`."""

import os
import signal
import threading

from agent.sandbox import answer
from agent.sandbox.answer import Answer
from agent.sandbox.control import Exited
from agent.sandbox.job import Outcome
from agent.sandbox.usage import Usage
from agent.sandbox.watch import Observed
from agent.sandbox.worker import EXIT_BROKEN, EXIT_NO_ANSWER, EXIT_REFUSED
from user_lib.contract.assignment import Limits
from user_lib.contract.errors import ProtocolError

__all__ = ["judge"]

TAIL_CHARS = 2000
_ONE_AT_A_TIME = threading.Lock()
"""Many large answers at once would take the agent's memory, and its interpreter's turns."""
CPU_NEARLY = 0.7
"""The kernel's limit counts whole ticks, its bookkeeping does not: the two differ under load."""


def judge(seen: Observed, limits: Limits, *, external: bool) -> Outcome:
    """Return the outcome: what the agent did to the worker first, then its answer, then its end."""
    said = _stopped(seen, limits) or _said(seen, external) or _ended(seen, limits)
    used = seen.used or Usage(0.0, 0.0)
    return Outcome(
        status=said.status,
        reason=said.reason,
        value=said.value,
        weight=said.weight,
        partial=said.partial,
        state=said.state,
        detail=said.detail,
        prints=_prints(seen),
        cpu_s=used.cpu_s,
        wall_s=seen.wall_s,
        max_rss_mb=used.max_rss_mb,
    )


def _stopped(seen: Observed, limits: Limits) -> Answer | None:
    if seen.stopped == "wall":
        return Answer(
            status="killed",
            reason="wall",
            detail=f"wall limit {limits.wall_s:g} s reached; processor time used: "
            f"{seen.used.cpu_s if seen.used else 0:.2f} s",
        )
    if seen.stopped == "cpu":
        return _out_of_time(limits)
    if seen.stopped == "output":
        return Answer(
            status="killed", reason="output", detail="it wrote far more than can be kept or sent"
        )
    if seen.malformed:
        return Answer(status="error", reason="protocol", detail=seen.malformed)
    return None


def _said(seen: Observed, external: bool) -> Answer | None:
    """Return the worker's answer, if there is a complete one."""
    try:
        if external:
            return _line(seen)
        length = answer.frame_length(seen.answer, len(seen.answer))
        if length is None or len(seen.answer) < length:
            return None
        with _ONE_AT_A_TIME:
            return answer.parse(bytes(seen.answer[:length]))
    except ProtocolError as error:
        return Answer(status="error", reason="protocol", detail=str(error))


def _line(seen: Observed) -> Answer | None:
    """Believe an external worker's line unless it ended badly by itself."""
    failed = seen.exited is None or (seen.exited.status != 0 and seen.stopped != "done")
    if failed or not seen.answer.strip():
        return None
    with _ONE_AT_A_TIME:
        return answer.parse_line(bytes(seen.answer))


def _ended(seen: Observed, limits: Limits) -> Answer:
    """Explain an end without an answer by what the waiting parent saw."""
    if seen.exited is None:
        return Answer(
            status="killed",
            reason="crash",
            detail="the sandbox's zygote ended while this iteration ran; the sandbox restarts it",
        )
    status = seen.exited.status
    if os.WIFSIGNALED(status):
        return _signalled(os.WTERMSIG(status), seen.exited, limits)
    code = os.WEXITSTATUS(status)
    if code == EXIT_NO_ANSWER:
        detail = "the worker could not answer: the code closed its descriptors"
        return Answer(status="error", reason="protocol", detail=detail)
    if code == EXIT_REFUSED:
        detail = bytes(seen.prints[-TAIL_CHARS:]).decode(errors="backslashreplace")
        return Answer(status="refused", reason="sandbox", detail=detail)
    if code == 0 and not seen.prints:
        detail = "the process ended without an answer (exit code 0)"
    else:
        detail = f"the process ended without an answer, exit code {code}"
    if code == EXIT_BROKEN:
        detail += " (the worker could not begin or go on)"
    tail = bytes(seen.prints[-TAIL_CHARS:]).decode(errors="backslashreplace").strip()
    return Answer(status="error", reason="exit", detail=f"{detail}\n{tail}".strip())


def _signalled(number: int, exited: Exited, limits: Limits) -> Answer:
    if exited.out_of_memory:
        detail = f"memory limit {limits.memory_mb} MB reached, by all of its processes together"
        return Answer(status="killed", reason="memory", detail=detail)
    if number in (signal.SIGKILL, signal.SIGXCPU) and exited.cpu_s >= limits.cpu_s * CPU_NEARLY:
        # The kernel's limit counts whole ticks, so it can come before its own sum of the use.
        return _out_of_time(limits)
    if number == signal.SIGSYS:
        detail = "killed for a system call that no sandboxed code may make"
        return Answer(status="killed", reason="syscall", detail=detail)
    detail = f"killed by {_signal_name(number)}"
    if number == signal.SIGKILL:
        detail += ", by the machine (out of memory?) or by itself"
    return Answer(status="killed", reason="crash", detail=detail)


def _out_of_time(limits: Limits) -> Answer:
    detail = f"processor limit {limits.cpu_s:g} s reached"
    return Answer(status="killed", reason="cpu", detail=detail)


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} ({signal.strsignal(number)})"
    except ValueError:
        return f"signal {number}"


def _prints(seen: Observed) -> str:
    text = bytes(seen.prints).decode(errors="backslashreplace")
    if seen.prints_cut_bytes:
        text += f"\n... {seen.prints_cut_bytes} bytes more were cut"
    return text
