"""A worker: one process, one job, no return. It is forked by the zygote and never serves twice.

While idle it makes itself ready; then it takes one job, limits itself, runs it, writes one answer
and ends. How it ended is never taken from its own word: the zygote, its parent, reports that.
"""

import os
import random
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import numpy as np

from agent.sandbox import answer, control, custom, envelope, external, linux, rlimits
from agent.sandbox.answer import Answer
from agent.sandbox.envelope import Header
from agent.sandbox.job import Half
from agent.sandbox.methods import registry
from agent.sandbox.methods.method import MethodOutput, ParamsError, Prior
from agent.sandbox.plain import NotPlain, plain
from user_lib.contract.window import Window

__all__ = ["EXIT_BROKEN", "EXIT_NO_ANSWER", "main", "warm_up"]

EXIT_BROKEN = 119
"""The worker itself failed, before or beside the code that it ran."""
EXIT_NO_ANSWER = 120
"""The answer could not be written: the code closed the worker's descriptors."""
CHANNEL = 3
DETAIL_CHARS = answer.DETAIL_CHARS


def warm_up() -> None:
    """Do once in the zygote what every worker would otherwise pay for at its first use."""
    square = np.eye(32)
    np.linalg.solve(square, square @ square)
    np.linalg.eigvalsh(square)
    np.fft.rfft(square[0])
    np.random.default_rng(0).normal(size=4)
    np.median(square)
    np.quantile(square, 0.5)
    with suppress(ZeroDivisionError):
        traceback.format_exc()


def main(channel_fd: int, baseline_bytes: int) -> NoReturn:
    """Live a worker's whole life; the process ends here, whatever happens."""
    status = EXIT_BROKEN
    try:
        status = _live(channel_fd, baseline_bytes)
    finally:
        os._exit(status)


def _live(channel_fd: int, baseline_bytes: int) -> int:
    channel = _settle(channel_fd)
    word, fds = control.receive(channel, control.JOB_DESCRIPTORS - 1)
    channel.close()
    if not word:
        return 0
    job_fd, answer_fd, prints_fd = fds
    _print_to(prints_fd)
    header, window, size = envelope.read(job_fd)
    os.close(job_fd)
    if header.argv:
        return _run_external(header, window, answer_fd)
    room = rlimits.Room()
    rlimits.apply(
        header.limits,
        in_use_bytes=baseline_bytes + size + room.size,
        external=False,
        scratch_mb=header.scratch_mb,
    )
    said = _answered(header, window, room)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    try:
        answer.write_all(answer_fd, _encoded(said, header, room))
    except OSError:
        return EXIT_NO_ANSWER
    return 0


def _settle(channel_fd: int) -> socket.socket:
    """Keep the channel and nothing else of the zygote's."""
    os.setsid()
    linux.die_with_parent()
    os.dup2(channel_fd, CHANNEL, inheritable=False)
    linux.close_from(CHANNEL + 1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    os.chdir("/")
    return socket.socket(fileno=CHANNEL)


def _print_to(fd: int) -> None:
    """Send what the code prints to the agent, line by line, from Python and from C."""
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    for name, target in (("stdout", 1), ("stderr", 2)):
        stream = open(  # noqa: SIM115 - lives as long as the process
            target, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _run_external(header: Header, window: Window | None, answer_fd: int) -> int:
    request = external.request_line(header, window)
    rlimits.apply(header.limits, in_use_bytes=0, external=True, scratch_mb=header.scratch_mb)
    try:
        external.execute(header.argv, request, answer_fd)
    except OSError as error:
        sys.stderr.write(f"cannot execute {header.argv[0]}: {error.strerror}\n")
        return EXIT_BROKEN


def _encoded(said: Answer, header: Header, room: rlimits.Room) -> bytes:
    try:
        return answer.encode(said, header.output_bytes)
    except MemoryError:
        room.release()
        return answer.encode(_out_of_memory(header, ""), header.output_bytes)


def _answered(header: Header, window: Window | None, room: rlimits.Room) -> Answer:
    """Run the method and turn whatever it does into an answer."""
    random.seed()
    np.random.seed()  # the old generator too: an analyst's code may use it
    try:
        return _method(header.half, header.method)(header, window)
    except MemoryError as error:
        room.release()
        return _out_of_memory(header, _traceback(error))
    except NotPlain as error:
        return Answer(status="error", reason="result", detail=str(error))
    except ParamsError as error:
        return Answer(status="error", reason="params", detail=str(error))
    except SystemExit as error:
        detail = f"the code called sys.exit({error.code!r:.80})"
        return Answer(status="error", reason="exit", detail=detail)
    except BaseException as error:  # noqa: BLE001 - whatever foreign code raises is its answer
        return Answer(status="error", reason="traceback", detail=_traceback(error))


def _method(half: Half, method: str) -> Callable[[Header, Window | None], Answer]:
    if method == "custom":
        return _run_custom
    return _run_onboard if half == "onboard" else _run_offboard


def _run_custom(header: Header, window: Window | None) -> Answer:
    try:
        function = custom.load(header.source or "")
    except SyntaxError as error:
        detail = "".join(traceback.format_exception_only(error))
        return Answer(status="error", reason="code", detail=_middle_cut(detail))
    except custom.BadModule as error:
        return Answer(status="error", reason="code", detail=str(error))
    reserved = {
        "state": header.state,
        "feedback": header.feedback,
        "iteration": header.iteration,
        "vehicle": header.vehicle,
    }
    data = window if window is not None else custom.RoundValues(header.inputs)
    try:
        value, state = custom.call(function, data, custom.Params(header.params, reserved))
    except custom.BadModule as error:
        return Answer(status="error", reason="code", detail=str(error))
    return Answer(
        status="ok",
        value=plain(value),
        state=plain(state, allow_none=True, path="state"),
        weight=_samples(window) if window is not None else sum(i.weight for i in header.inputs),
    )


def _run_onboard(header: Header, window: Window | None) -> Answer:
    if window is None:
        raise ParamsError(f"{header.method} computes on a window and was given none")
    method = registry.onboard(header.method)
    prior = Prior(header.state, header.feedback, header.iteration)
    out = method.compute(window, method.check(header.params), prior)
    return _from_output(out)


def _run_offboard(header: Header, window: Window | None) -> Answer:
    merged = registry.merge(header.method, header.inputs, header.params, header.onboard_method)
    return _from_output(MethodOutput(merged, sum(i.weight for i in header.inputs)))


def _from_output(out: MethodOutput) -> Answer:
    return Answer(
        status="ok",
        value=plain(out.value, allow_none=True),
        weight=out.weight,
        partial=plain(out.partial, allow_none=True, path="partial"),
        state=plain(out.state, allow_none=True, path="state"),
    )


def _samples(window: Window) -> float:
    return float(len(window[window.signals[0]])) if len(window) else 0.0


def _out_of_memory(header: Header, trace: str) -> Answer:
    detail = f"memory limit {header.limits.memory_mb} MB reached\n{trace}"
    return Answer(status="killed", reason="memory", detail=detail)


def _traceback(error: BaseException) -> str:
    """Return the traceback from the analyst's first line on, its middle cut when it is long."""
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != custom.FILENAME:
            trace = trace.tb_next
        lines = traceback.TracebackException(type(error), error, trace or error.__traceback__)
        return _middle_cut("".join(lines.format()))
    except BaseException:  # noqa: BLE001 - an exception's own __str__ is foreign code too
        return f"{type(error).__name__}, whose message cannot be read"


def _middle_cut(text: str) -> str:
    if len(text) <= DETAIL_CHARS:
        return text
    half = DETAIL_CHARS // 2 - 50
    return f"{text[:half]}\n... {len(text) - 2 * half} characters cut ...\n{text[-half:]}"
