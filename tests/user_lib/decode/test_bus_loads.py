"""The bus load of a log is that of a vehicle that met the same frames."""

from pathlib import Path

import numpy as np
import pytest

from agent.signals.quality.frame_time import Bitrate
from user_lib.cli import main
from user_lib.contract.frames import ERROR, EXTENDED, FrameBatch
from user_lib.decode.bus_load import BusLoads

MS = 1_000_000
DBC = 'BS_:\nBU_:\nBO_ 1 M: 8 A\n SG_ S : 0|8@1+ (1,0) [0|0] "" A\n'


def frames_of(times_ms: list[int], *, bus: int = 0, flags: int = 0) -> FrameBatch:
    batch = FrameBatch.zeros(len(times_ms))
    batch.time_ns[:] = np.array(times_ms) * MS
    batch.bus[:], batch.flags[:], batch.length[:] = bus, flags, 8
    return batch


def test_a_frame_of_eight_bytes_takes_119_bits_with_the_expected_stuffing() -> None:
    loads = BusLoads(["a"], {"": Bitrate(bitrate=100_000)})
    loads.add(frames_of(list(range(0, 2001, 10))))  # 201 frames in 2 s

    (bus,) = loads.summary()

    bits = 98 * (1 + 1 / 12) + 13
    assert bus.load_percent == pytest.approx(201 * bits / 100_000 / 2 * 100, rel=1e-4)
    assert bus.busiest_second_percent == pytest.approx(101 * bits / 100_000 * 100, rel=1e-4)
    assert (bus.frames, bus.error_frames, bus.bitrate) == (201, 0, 100_000)


def test_channels_have_speeds_of_their_own_and_errors_take_no_time() -> None:
    loads = BusLoads(["a", "b", "c"], {"b": Bitrate(250_000), "": Bitrate(125_000)})
    for bus in range(2):
        loads.add(frames_of([0, 500, 1000], bus=bus, flags=EXTENDED))
    loads.add(frames_of([100], bus=1, flags=ERROR))

    a, b, c = loads.summary()

    assert a.load_percent == pytest.approx(2 * b.load_percent, rel=1e-4)
    assert (b.frames, b.error_frames) == (4, 1)
    assert (c.frames, c.load_percent, c.busiest_second_percent) == (0, 0.0, 0.0)


def test_the_cuts_between_batches_and_going_back_in_time_change_nothing() -> None:
    times_ms = np.random.default_rng(1).integers(0, 20_000, 3_000)
    whole, cut = BusLoads(["a"], {}), BusLoads(["a"], {})
    whole.add(frames_of(times_ms.tolist()))
    for start in range(0, 3_000, 97):
        cut.add(frames_of(times_ms[start : start + 97].tolist()))

    assert whole.summary() == cut.summary()


@pytest.mark.parametrize("begin_ms", [0, 300, 999, 1_700_000_000_250])
@pytest.mark.parametrize("length_ms", [0, 1, 400, 999, 1000, 1400, 2000, 2500, 3100, 150_700])
@pytest.mark.parametrize("every_ms", [1, 7, 150])
def test_no_bus_is_busier_on_average_than_in_its_busiest_second(
    begin_ms: int, length_ms: int, every_ms: int
) -> None:
    times_ms = np.arange(begin_ms, begin_ms + length_ms + 1, every_ms)
    loads = BusLoads(["a"], {"": Bitrate(500_000)})
    for start in range(0, len(times_ms), 5_000):
        loads.add(frames_of(times_ms[start : start + 5_000].tolist()))

    (bus,) = loads.summary()

    assert bus.load_percent <= bus.busiest_second_percent * (1 + 1e-9)
    if length_ms > 2000:  # an even load has no second much above the average
        assert bus.busiest_second_percent <= bus.load_percent * (1 + 2 * every_ms / 1000)


def test_nothing_has_no_load() -> None:
    loads = BusLoads(["a"], {})
    loads.add(FrameBatch.empty())

    (bus,) = loads.summary()
    assert (bus.load_percent, bus.busiest_second_percent) == (0.0, 0.0)


def test_the_command_tells_the_load_at_the_speed_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, dbc = tmp_path / "drive.log", tmp_path / "x.dbc"
    log.write_text("".join(f"({i / 100:.2f}) can0 001#0000000000000000\n" for i in range(201)))
    dbc.write_text(DBC)

    code = main(
        [
            "decode",
            str(log),
            "--dbc",
            str(dbc),
            "-o",
            str(tmp_path / "o.npz"),
            "--bitrate=can0=100000",
        ]
    )

    said = capsys.readouterr().out
    assert code == 0
    assert "can0 was busy 12.0 % of the time at 100 kbit/s, 12.0 % in its busiest second" in said


@pytest.mark.parametrize("bad", ["fast", "0", "500000/", "a=b", "500000/x", "-1"])
def test_a_speed_that_is_none_is_refused(
    bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(
            ["decode", "x.log", "--dbc", "x.dbc", "-o", str(tmp_path / "o.npz"), f"--bitrate={bad}"]
        )

    assert caught.value.code == 2
    assert "is no speed; expected bit/s" in capsys.readouterr().err
