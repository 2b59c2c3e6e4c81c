"""Logs of every format, damaged at random: frames or a clear error, never a crash or nonsense."""

import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path

import can
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hw import read_log, simulate, write_candump
from tests.fuzz.seeds import by_python_can
from tests.fuzz.targets import check_frames
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import EXTENDED, FD, FrameBatch

LINES = 120
GVRET = "Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8\n"


def drive() -> FrameBatch:
    return next(iter(simulate("compact", 1, 10.0))).take(slice(0, LINES))


def classic(batch: FrameBatch) -> FrameBatch:
    return batch.take((batch.flags & FD) == 0)


def candump(path: Path) -> None:
    write_candump(path, [drive()], ["can0", "can1"])


def candump_packed(path: Path) -> None:
    candump(path.with_suffix(""))
    path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))


def gvret(path: Path) -> None:
    rows = [
        f"{t // 1000},{i:08X},{'true' if f & EXTENDED else 'false'},Rx,0,{n},"
        + ",".join(f"{b:02X}" for b in d[:n])
        for t, i, f, n, d in zip(
            *(getattr(classic(drive()), c).tolist() for c in _COLUMNS), strict=True
        )
    ]
    path.write_text(GVRET + "\n".join(rows) + "\n")


_COLUMNS = ("time_ns", "can_id", "flags", "length", "data")
WRITERS: dict[str, Callable[[Path], None]] = {
    "drive.log": candump,
    "drive.log.gz": candump_packed,
    "drive.csv": gvret,
    "drive.asc": lambda path: by_python_can(can.ASCWriter, path, drive()),
    "drive.blf": lambda path: by_python_can(can.BLFWriter, path, drive()),
    "drive.trc": lambda path: by_python_can(can.TRCWriter, path, classic(drive())),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one short drive in each format."""
    folder = tmp_path_factory.mktemp("whole")
    for name, write in WRITERS.items():
        write(folder / name)
    return folder


places = st.floats(0, 1)
damage = st.one_of(
    st.tuples(st.just("set"), places, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("remove"), places, st.integers(1, 60)),
    st.tuples(st.just("repeat"), places, st.integers(1, 200)),
    st.tuples(st.just("end"), places, st.just(b"")),
)


def damaged(content: bytes, changes: list[tuple[str, float, bytes | int]]) -> bytes:
    for kind, place, what in changes:
        at = int(place * len(content))
        before, after = content[:at], content[at:]
        if isinstance(what, int):
            content = before + (after[what:] if kind == "remove" else after[:what] + after)
        elif kind == "end":
            content = before
        else:
            content = before + what + after[len(what) if kind == "set" else 0 :]
    return content


@pytest.mark.parametrize("name", WRITERS)
def test_an_undamaged_log_is_read_whole(whole: Path, name: str) -> None:
    log = read_log(whole / name)

    assert log.scan() >= LINES * 9 // 10
    assert log.malformed == 0


@pytest.mark.parametrize("name", WRITERS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(damage, min_size=1, max_size=5))
def test_a_damaged_log_gives_frames_or_a_clear_error(
    tmp_path: Path,
    whole: Path,
    name: str,
    changes: list[tuple[str, float, bytes | int]],
) -> None:
    path = tmp_path / name
    path.write_bytes(damaged((whole / name).read_bytes(), changes))

    with contextlib.suppress(SourceError):
        log = read_log(path)
        for batch in log:
            check_frames(batch, len(log.channels))


@pytest.mark.parametrize(("at", "missing"), [(7_496, 7), (64_185, 47), (20_000, 60_000)])
def test_a_damaged_mf4_costs_no_more_than_the_process_that_reads_it(
    tmp_path: Path, data: Path, at: int, missing: int
) -> None:
    """The second hole crashes asammdf 8.8 (SIGSEGV); the others lead it elsewhere."""
    pytest.importorskip("asammdf")
    content = (data / "logs/johndeere_j1939_tp.MF4").read_bytes()
    path = tmp_path / "drive.mf4"
    path.write_bytes(content[:at] + content[at + missing :])
    log = read_log(path)

    with contextlib.suppress(SourceError):
        for batch in log:
            check_frames(batch, len(log.channels))
    assert log.malformed or 0 < sum(map(len, read_log(path))) < 1815


@pytest.mark.parametrize("missing", [1, 7, 12])
def test_a_payload_that_was_cut_off_costs_an_mf4_its_own_frame_only(
    tmp_path: Path, data: Path, missing: int
) -> None:
    """As when the power goes: the record is written, its bytes are not, and asammdf gives up."""
    pytest.importorskip("asammdf")
    path = tmp_path / "drive.mf4"
    path.write_bytes((data / "logs/johndeere_j1939_tp.MF4").read_bytes()[:-missing])

    log = read_log(path)

    assert (log.scan(), log.malformed) == (1814, 1)
    assert log.first_damage.startswith("CAN_DataFrame records 1814 to 1814")


def candump_text(frames: int) -> bytes:
    return b"".join(
        b"(%d.5) can0 123#%016X\n" % (i, i * 0x9E3779B97F4A7C15 % 2**64) for i in range(frames)
    )


def test_a_compressed_log_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "drive.candump.log.gz"
    packed = gzip.compress(candump_text(20_000))
    path.write_bytes(packed[: len(packed) // 2])

    log = read_log(path)

    assert 8_000 < log.scan() < 12_000
    assert log.malformed == 2  # the line in which it breaks off, and that it does
    assert "before the end-of-stream marker" in log.first_damage


def test_a_compressed_log_may_have_several_members_and_zeros_behind_them(tmp_path: Path) -> None:
    path = tmp_path / "drive.log.gz"
    text = candump_text(3_000)
    path.write_bytes(gzip.compress(text[:40_000]) + gzip.compress(text[40_000:]) + bytes(512))

    log = read_log(path)

    assert (log.scan(), log.malformed) == (3_000, 0)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["drive.log", "drive.csv", "drive.asc", "drive.trc"])
def test_a_byte_order_mark_and_windows_line_ends_cost_nothing(
    tmp_path: Path, whole: Path, name: str, encoding: str
) -> None:
    text = (whole / name).read_text().replace("\n", "\r\n")
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))

    log = read_log(path)

    assert log.scan() == read_log(whole / name).scan()
    assert log.malformed == 0


@pytest.mark.parametrize("name", [*WRITERS, "drive.mf4", "drive"])
def test_an_empty_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()

    with pytest.raises(SourceError, match=rf"{name}: the file is empty"):
        read_log(path).scan()


def test_a_compressed_log_of_nothing_is_empty_too(tmp_path: Path) -> None:
    path = tmp_path / "drive.log.gz"
    path.write_bytes(gzip.compress(b""))

    with pytest.raises(SourceError, match=r"drive\.log\.gz: the file is empty"):
        read_log(path).scan()


@pytest.mark.parametrize(
    ("name", "written"),
    [("drive.asc", "drive.log"), ("drive.log", "drive.asc"), ("a.csv", "drive.blf")],
)
def test_a_log_with_the_suffix_of_another_format_is_read_for_what_it_is(
    tmp_path: Path, whole: Path, name: str, written: str
) -> None:
    path = tmp_path / name
    path.write_bytes((whole / written).read_bytes())

    log = read_log(path)

    assert log.scan() == read_log(whole / written).scan()
    assert log.format == written.rpartition(".")[2].replace("log", "candump")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.log", "(9999999999.0) can0 123#00"),
        ("a.log", "(9999999999.0) can0 123#R8"),
        ("a.asc", "9999999999.0 1 123 Rx d 1 00"),
        ("a.asc", "99999999999999999999.0 1 123 Rx d 1 00"),
        ("a.trc", " 1) 99999999999999999.0 Rx 0123 1 00"),
        ("a.csv", "9999999999999999,123,false,0,1,00"),
        ("a.csv", "9999999999999.5,123,false,0,1,00"),
        ("a.csv", "-9999999999999999,123,false,0,1,00"),
    ],
)
def test_a_time_that_64_bits_do_not_hold_is_damage(tmp_path: Path, name: str, line: str) -> None:
    headers = {"a.asc": "base hex  timestamps absolute\n", "a.csv": GVRET.replace("Dir,", "")}
    good = {
        "a.log": "(1.0) can0 123#00",
        "a.asc": "1.0 1 123 Rx d 1 00",
        "a.trc": " 1) 1.0 Rx 0123 1 00",
        "a.csv": "1,123,false,0,1,00",
    }
    if name == "a.trc":
        headers[name] = ";$FILEVERSION=1.1\n"
    path = tmp_path / name
    path.write_text(f"{headers.get(name, '')}{line}\n{good[name]}\n")

    log = read_log(path)

    assert (log.scan(), log.malformed) == (1, 1)


def test_relative_times_that_add_up_beyond_64_bits_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.asc"
    line = "6000000000.0 1 123 Rx d 1 00\n"
    path.write_text(f"base hex  timestamps relative\n{line}{line}0.5 1 123 Rx d 1 00\n")

    log = read_log(path)

    assert (log.scan(), log.malformed) == (2, 1)
