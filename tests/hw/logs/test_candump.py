import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.logs import read_log, write_candump
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import BRS, ERROR, ESI, EXTENDED, FD, REMOTE, TX, FrameBatch

Write = Callable[[str, str | bytes], Path]

REGULAR = "(1597243084.254287) can0 118#5003851817800000\n"


def read(path: Path) -> FrameBatch:
    return FrameBatch.concatenate(list(read_log(path)))


@pytest.mark.parametrize(
    ("line", "can_id", "flags", "payload"),
    [
        ("(1.000001) can0 118#5003", 0x118, 0, "5003"),
        ("(1.000001) can0 118#", 0x118, 0, ""),
        ("(1.000001) can0 00000118#ab", 0x118, EXTENDED, "ab"),
        ("(1.000001) can0 18FEF100#0102 R", 0x18FEF100, EXTENDED, "0102"),
        ("(1.000001) can0 7ff#0102030405060708 T", 0x7FF, TX, "0102030405060708"),
        ("(1.000001) can0 123##5" + "11" * 12, 0x123, FD | BRS, "11" * 12),
        (
            "(1.000001) can0 00000123##3" + "ff" * 64 + " T",
            0x123,
            EXTENDED | FD | BRS | ESI | TX,
            "ff" * 64,
        ),
        ("(1.000001) can0 123##0", 0x123, FD, ""),
        ("(1.000001) can0 20000004#0001000000000000", 4, EXTENDED | ERROR, "0001000000000000"),
        ("(1.000001) can0 118#1122334455667788_C", 0x118, 0, "1122334455667788"),
        ("(1.000001)  can0   118   [2]  50 03", 0x118, 0, "5003"),
    ],
)
def test_a_line_becomes_a_frame(
    write: Write, line: str, can_id: int, flags: int, payload: str
) -> None:
    frames = read(write("one.log", line + "\n"))

    assert frames.time_ns.tolist() == [1_000_001_000]
    assert (frames.can_id[0], frames.flags[0]) == (can_id, flags)
    assert frames.data[0, : frames.length[0]].tobytes() == bytes.fromhex(payload)


@pytest.mark.parametrize(("text", "length"), [("R", 0), ("R8", 8), ("r4", 4), ("R3 T", 3)])
def test_a_remote_frame_keeps_the_length_it_asks_for(write: Write, text: str, length: int) -> None:
    frames = read(write("remote.log", f"(1.5) can0 118#{text}\n"))

    assert frames.flags[0] & REMOTE
    assert frames.length[0] == length
    assert not frames.data.any()


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("0.000000", 0),
        ("0000000000.000001", 1_000),
        ("1597243084.254287", 1_597_243_084_254_287_000),
        ("1597243084.254287123", 1_597_243_084_254_287_123),
        ("12.5", 12_500_000_000),
        ("4102444800.123456789", 4_102_444_800_123_456_789),
    ],
)
def test_times_are_exact_to_the_last_digit(write: Write, text: str, time_ns: int) -> None:
    frames = read(write("time.log", f"({text}) can0 118#00\n"))

    assert frames.time_ns.tolist() == [time_ns]


def test_channels_are_numbered_as_they_come(write: Write) -> None:
    names = ["can1", "vcan0", "can1", "a_very_long_nam", "0", "vcan0"]
    path = write("many.log", "".join(f"(1.000000) {n} 118#00\n" for n in names))
    log = read_log(path)

    frames = FrameBatch.concatenate(list(log))

    assert log.channels == ("can1", "vcan0", "a_very_long_nam", "0")
    assert frames.bus.tolist() == [0, 1, 0, 2, 3, 1]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_empty_lines_and_a_missing_last_end_do_not_matter(write: Write, end: str) -> None:
    text = end.join([REGULAR.strip(), "", REGULAR.strip(), "   ", REGULAR.strip()])
    log = read_log(write("ends.log", text))

    assert len(FrameBatch.concatenate(list(log))) == 3
    assert log.malformed == 0


DAMAGED = [
    "(1597243084.254287) can0 118#500385181780000",  # half a byte
    "(1597243084.254287) can0 118#50038518178000000",  # half a byte too many
    "(1597243084.254287) can0 118#500385181780000000",  # nine bytes
    "(1597243084.254287) can0 118#50038518178000G0",
    "(1597243084.254287) can0 1G8#5003851817800000",
    "(1597243084.254287) can0 918#5003851817800000",  # 12 bits
    "(1597243084.254287) can0 118##1" + "00" * 9,  # no such FD length
    "(1597243084.254287) can0 118##x00",
    "(1597243084.254287) can0 #5003851817800000",
    "(1597243084.254287) can0 118",
    "(1597243084.254287) 118#5003851817800000",
    "(1597243084x254287) can0 118#5003851817800000",
    "(159724308a.254287) can0 118#5003851817800000",
    "1597243084.254287 can0 118#5003851817800000",
    "(1597243084.25428",
    "\x00\x00\x00\x00",
    "#",
    ")(",
]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_line_costs_itself_only_and_is_named(
    write: Write, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = read_log(write("damaged.log", REGULAR * 3 + damaged + "\n" + REGULAR * 2))

    with caplog.at_level(logging.WARNING, "hw.logs"):
        frames = FrameBatch.concatenate(list(log))

    assert len(frames) == 5
    assert log.malformed == 1
    assert log.first_damage.startswith("line 4")
    assert "damaged.log, line 4" in caplog.text


def test_much_damage_is_counted_and_warned_of_once(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    log = read_log(write("damaged.log", (REGULAR + "nonsense\n") * 500))

    with caplog.at_level(logging.WARNING, "hw.logs"):
        assert log.scan() == 500

    assert log.malformed == 500
    assert len(caplog.records) == 1


def test_a_file_of_something_else_is_refused(write: Write) -> None:
    path = write("recipe.log", "Take two eggs.\nBeat them.\n")

    with pytest.raises(SourceError, match=r"recipe\.log: expected a candump line .*two eggs"):
        read_log(path).scan()


@pytest.mark.parametrize("name", ["drive.log.gz", "drive.candump.log.gz"])
def test_a_compressed_log_reads_as_the_plain_one(write: Write, name: str) -> None:
    assert read_log(write(name, REGULAR * 1000)).scan() == 1000


def test_a_compressed_log_that_breaks_off_gives_what_it_holds(write: Write) -> None:
    lines = [f"({i}.{i:06d}) can0 118#{i:016X}\n" for i in range(200_000)]
    whole = write("drive.log.gz", "".join(lines))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    log = read_log(whole)

    frames = log.scan()

    assert 50_000 < frames < 200_000
    assert log.malformed >= 1
    assert "compressed" in log.first_damage or "line" in log.first_damage


def test_batches_are_bounded_and_keep_the_order_across_blocks(write: Write) -> None:
    n = 30_000  # more than one block of the reader
    lines = [f"({i // 1000}.{i % 1000:06d}) can0 118#{i:08X}\n" for i in range(n)]
    batches = list(read_log(write("long.log", "".join(lines)), batch_frames=1000))

    assert max(map(len, batches)) <= 1000
    frames = FrameBatch.concatenate(batches)
    counters = frames.data[:, :4].astype(np.int64) @ [1 << 24, 1 << 16, 1 << 8, 1]
    assert counters.tolist() == list(range(n))


frame = st.fixed_dictionaries(
    {
        "time_ns": st.integers(0, 9_000_000_000_000_000_000),
        "extended": st.booleans(),
        "id": st.integers(0, 0x1FFFFFFF),
        "kind": st.sampled_from(["classic", "fd", "remote", "error"]),
        "payload": st.binary(max_size=64),
        "bus": st.integers(0, 2),
        "sent": st.booleans(),
        "bits": st.integers(0, 3),
    }
)
FD_LENGTHS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64]


def batch_of(told: list[dict[str, Any]]) -> FrameBatch:
    batch = FrameBatch.zeros(len(told), 64)
    for i, each in enumerate(told):
        kind = each["kind"]
        extended = each["extended"] or kind == "error"
        payload = each["payload"]
        length = max(x for x in FD_LENGTHS if x <= len(payload))
        if kind != "fd":
            length = min(length, 8)
        flags = EXTENDED * extended | TX * each["sent"]
        if kind == "fd":
            flags |= FD | BRS * (each["bits"] & 1) | ESI * (each["bits"] >> 1)
        flags |= {"remote": REMOTE, "error": ERROR}.get(kind, 0)
        batch.time_ns[i] = each["time_ns"]
        batch.can_id[i] = each["id"] & (0x1FFFFFFF if extended else 0x7FF)
        batch.flags[i], batch.length[i], batch.bus[i] = flags, length, each["bus"]
        if kind != "remote":
            batch.data[i, :length] = np.frombuffer(payload[:length], np.uint8)
    return batch


@given(st.lists(frame, min_size=1, max_size=30))
def test_what_was_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, Any]]
) -> None:
    written = batch_of(told)
    path = tmp_path_factory.getbasetemp() / "round_trip.log"
    names = ("can0", "vcan_with_a_nam", "7")

    write_candump(path, [written], names)
    log = read_log(path)
    again = FrameBatch.concatenate(list(log))

    assert log.malformed == 0
    for column in ("time_ns", "can_id", "flags", "length"):
        assert (getattr(again, column) == getattr(written, column)).all(), column
    stride = again.data.shape[1]
    assert (again.data == written.data[:, :stride]).all()
    assert not written.data[:, stride:].any()
    assert [log.channels[b] for b in again.bus] == [names[b] for b in written.bus]


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.log"
    path.write_bytes(REGULAR.encode() + noise + b"\n" + REGULAR.encode())

    assert read_log(path).scan() >= 2


mutations = st.lists(
    st.tuples(st.integers(0, len(REGULAR) - 2), st.integers(1, 255)), min_size=1, max_size=3
)


@given(mutations)
def test_the_fast_path_never_reads_what_the_careful_one_would_refuse(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    """A line is read the same whether it stands among regular ones or is made irregular."""
    line = bytearray(REGULAR.encode())
    for at, byte in changes:
        line[at] = byte
    if b"\n" in line[:-1] or b"\r" in line:
        return
    path = tmp_path_factory.getbasetemp() / "mutated.log"
    path.write_bytes(bytes(line) + REGULAR.encode())
    fast = FrameBatch.concatenate(list(read_log(path)))
    path.write_bytes(b"  " + bytes(line) + REGULAR.encode())  # blanks in front: read alone
    slow = FrameBatch.concatenate(list(read_log(path)))

    for a, b in itertools.zip_longest(as_rows(fast), as_rows(slow)):
        assert a == b


def as_rows(frames: FrameBatch) -> list[tuple]:
    columns = (frames.time_ns, frames.can_id, frames.flags, frames.length)
    rows = zip(*(c.tolist() for c in columns), frames.data.tolist(), strict=True)
    return [tuple(map(str, row)) for row in rows]
