"""Run one job in this process and turn whatever it does into an answer."""

import platform
import random
import traceback
from collections.abc import Callable

import numpy as np

from agent.sandbox import answer, custom, rlimits
from agent.sandbox.answer import Answer
from agent.sandbox.envelope import Header
from agent.sandbox.job import Half, Job
from agent.sandbox.methods import registry
from agent.sandbox.methods.method import MethodOutput, ParamsError, Prior
from agent.sandbox.plain import NotPlain, plain
from agent.sandbox.rlimits import Room
from user_lib.contract.window import Window

__all__ = ["answered", "encoded", "fresh_randomness", "rehearsal", "warm_up"]

DETAIL_CHARS = answer.DETAIL_CHARS
NO_THREAD = "can't start new thread"


def warm_up() -> None:
    """Do once in the zygote what every worker would otherwise pay for at its first use."""
    square = np.eye(32)
    np.linalg.solve(square, square @ square)
    np.linalg.eigvalsh(square)
    np.fft.rfft(square[0])
    np.random.default_rng(0).normal(size=4)
    np.median(square)
    np.quantile(square, 0.5)
    traceback.format_exc()
    vars(platform)["_uname_cache"] = None  # numpy asked for the machine; the host's name came along


def rehearsal() -> Job:
    """Return a small job that goes the whole way: the zygote and every idle worker run it once."""
    source = "def custom(data, params):\n    return {name: data[name].sum() for name in data}\n"
    arrays = {"rehearsal": np.ones(8)}
    times = {"rehearsal": np.arange(8)}
    window = Window(arrays, times, start_ns=0, stop_ns=8)
    return Job(half="onboard", method="custom", source=source, window=window)


def fresh_randomness() -> None:
    """Seed the generators anew: forked processes would all draw the same numbers."""
    random.seed()
    np.random.seed()  # the old generator too: an analyst's code may use it


def encoded(said: Answer, header: Header, room: Room) -> bytes:
    """Return the answer's frame, also when the memory ends here."""
    try:
        return answer.encode(said, header.output_bytes)
    except MemoryError:
        room.release()
        return answer.encode(_out_of_memory(header, ""), header.output_bytes)


def answered(header: Header, window: Window | None, room: Room) -> Answer:
    """Run the method and turn whatever it does into an answer."""
    try:
        return _answered(header, window, room)
    except BaseException as error:  # noqa: BLE001 - what was raised bites whoever looks at it
        detail = f"{type(error).__name__}, raised while it was told what the code had raised"
        return Answer(status="error", reason="traceback", detail=detail)


def _answered(header: Header, window: Window | None, room: Room) -> Answer:
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
        detail = _traceback(error)
        if type(error) is RuntimeError and NO_THREAD in detail:
            detail += _thread_limit(header)
        return Answer(status="error", reason="traceback", detail=detail)


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


def _thread_limit(header: Header) -> str:
    stack_mb = rlimits.THREAD_STACK_BYTES // rlimits.MB
    return (
        f"The sandbox's limit on threads is reached: at most {rlimits.TASKS_APART}, and each takes "
        f"{stack_mb} MB of the memory limit of {header.limits.memory_mb} MB."
    )


def _out_of_memory(header: Header, trace: str) -> Answer:
    detail = f"memory limit {header.limits.memory_mb} MB reached\n{trace}"
    return Answer(status="killed", reason="memory", detail=detail)


def _traceback(error: BaseException) -> str:
    """Return the traceback from the analyst's first line on, its middle cut when it is long."""
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != custom.FILENAME:
            trace = trace.tb_next
        if trace is None:  # raised by our own call of the code: our lines would tell nothing
            return _middle_cut("".join(traceback.format_exception_only(error)))
        lines = traceback.TracebackException(type(error), error, trace)
        return _middle_cut("".join(lines.format()))
    except BaseException:  # noqa: BLE001 - an exception's own __str__ is foreign code too
        return f"{type(error).__name__}, whose message cannot be read"


def _middle_cut(text: str) -> str:
    if len(text) <= DETAIL_CHARS:
        return text
    half = DETAIL_CHARS // 2 - 50
    return f"{text[:half]}\n... {len(text) - 2 * half} characters cut ...\n{text[-half:]}"
