"""ASC, BLF, TRC, GVRET and MF4: what other tools write, and what is damaged in it."""

import random
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import can
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.logs import read_log
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import BRS, ESI, EXTENDED, FD, REMOTE, TX, FrameBatch

Write = Callable[[str, str | bytes], Path]

FD_LENGTHS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64]


def read(path: Path) -> FrameBatch:
    return FrameBatch.concatenate(list(read_log(path)))


def messages(n: int, *, fd: bool, start_s: float = 1_600_000_000.0) -> list[can.Message]:
    """Frames of every kind, a millisecond apart."""
    dice = random.Random(5)
    made = []
    for i in range(n):
        extended, remote = dice.random() < 0.5, dice.random() < 0.1
        is_fd = fd and not remote and dice.random() < 0.4
        length = dice.choice(FD_LENGTHS[1:] if is_fd else FD_LENGTHS[:9])
        made.append(
            can.Message(
                timestamp=start_s + i * 0.001,
                arbitration_id=dice.randrange(1 << 29 if extended else 1 << 11),
                is_extended_id=extended,
                is_remote_frame=remote,
                is_fd=is_fd,
                bitrate_switch=is_fd and dice.random() < 0.5,
                error_state_indicator=is_fd and dice.random() < 0.5,
                is_rx=dice.random() < 0.8,
                channel=dice.randrange(3),
                dlc=length,
                data=None if remote else dice.randbytes(length),
            )
        )
    return made


def written_by(writer: type, path: Path, told: list[can.Message]) -> Path:
    with writer(str(path)) as out:
        for message in told:
            out.on_message_received(message)
    return path


def assert_same(frames: FrameBatch, told: list[can.Message]) -> None:
    assert len(frames) == len(told)
    for i, message in enumerate(told):
        flags = (
            EXTENDED * message.is_extended_id
            | REMOTE * message.is_remote_frame
            | FD * message.is_fd
            | BRS * message.bitrate_switch
            | ESI * message.error_state_indicator
            | TX * (not message.is_rx)
        )
        assert frames.can_id[i] == message.arbitration_id
        assert frames.flags[i] == flags, message
        assert frames.length[i] == message.dlc
        assert frames.data[i, : message.dlc].tobytes().rstrip(b"\0") == message.data.rstrip(b"\0")


def test_blf_of_python_can_is_read_back(tmp_path: Path) -> None:
    told = messages(5000, fd=True)
    path = written_by(can.BLFWriter, tmp_path / "drive.blf", told)
    log = read_log(path)
    frames = FrameBatch.concatenate(list(log))

    assert_same(frames, told)
    assert log.malformed == 0
    # The file counts channels from 1, python-can from 0.
    assert [int(log.channels[b]) - 1 for b in frames.bus] == [m.channel for m in told]
    assert abs(frames.time_ns - [round(m.timestamp * 1e9) for m in told]).max() < 1_000


def test_asc_of_python_can_is_read_back(tmp_path: Path) -> None:
    told = messages(500, fd=True)
    log = read_log(written_by(can.ASCWriter, tmp_path / "drive.asc", told))
    frames = FrameBatch.concatenate(list(log))

    assert_same(frames, told)
    assert [int(log.channels[b]) - 1 for b in frames.bus] == [m.channel for m in told]
    since_first = [round((m.timestamp - told[0].timestamp) * 1e6) * 1_000 for m in told]
    assert (frames.time_ns - frames.time_ns[0]).tolist() == since_first


def test_trc_of_python_can_is_read_back(tmp_path: Path) -> None:
    told = [m for m in messages(500, fd=False) if not m.is_remote_frame]
    frames = read(written_by(can.TRCWriter, tmp_path / "drive.trc", told))

    assert_same(frames, told)
    steps_ms = np.diff([round(m.timestamp * 1e3) for m in told])
    assert (np.diff(frames.time_ns) == steps_ms * 1_000_000).all()


def test_mf4_of_python_can_is_read_back(tmp_path: Path) -> None:
    pytest.importorskip("asammdf")
    told = [m for m in messages(300, fd=True) if not m.is_remote_frame]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = written_by(can.MF4Writer, tmp_path / "drive.mf4", told)
        log = read_log(path)
        frames = FrameBatch.concatenate(list(log))

    for i, message in enumerate(told):
        assert frames.can_id[i] == message.arbitration_id
        assert bool(frames.flags[i] & EXTENDED) == message.is_extended_id
        assert frames.data[i, : message.dlc].tobytes() == message.data
        assert log.channels[frames.bus[i]] == str(message.channel)
    steps = np.diff(frames.time_ns)
    assert abs(steps - np.diff([m.timestamp for m in told]) * 1e9).max() < 1_000


def test_mf4_columns_that_are_computed_are_computed(tmp_path: Path) -> None:
    """As newer CANedges write: a constant bus without bits, lengths by a table of the DLC."""
    asammdf = pytest.importorskip("asammdf")
    blocks = pytest.importorskip("asammdf.blocks.v4_blocks")
    told = [
        can.Message(timestamp=float(i), arbitration_id=i, is_fd=True, data=bytes(n), channel=1)
        for i, n in enumerate([8, 12, 64, 3])
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = written_by(can.MF4Writer, tmp_path / "stored.mf4", told)
        with asammdf.MDF(stored) as mdf:
            columns = {c.name: c for group in mdf.groups for c in group.channels}
            bus, length = columns["CAN_DataFrame.BusChannel"], columns["CAN_DataFrame.DataLength"]
            bus.channel_type, bus.bit_count = 6, 0  # virtual data: the number of the record
            bus.conversion = blocks.ChannelConversion(conversion_type=1, a=0.0, b=7.0)
            length.byte_offset = columns["CAN_DataFrame.DLC"].byte_offset
            table = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64]
            values = {f"raw_{i}": float(i) for i in range(16)}
            values |= {f"phys_{i}": float(n) for i, n in enumerate(table)}
            length.conversion = blocks.ChannelConversion(
                conversion_type=5, links_nr=4, ref_param_nr=0, val_param_nr=32, **values
            )
            path = mdf.save(tmp_path / "computed.mf4")

    log = read_log(path)
    frames = FrameBatch.concatenate(list(log))

    assert log.channels == ("7",)
    assert frames.length.tolist() == [8, 12, 64, 3]
    assert log.malformed == 0


def test_asc_reads_decimal_relative_and_odd_lines(write: Write) -> None:
    text = """date Sam Sep 30 15:06:13.191 2017
base dec  timestamps relative
no internal events logged
// a remark
Begin Triggerblock Sam Sep 30 15:06:13.191 2017
   0.000000 Start of measurement
   0.100000 0  594             Rx   d 2 255 16
   0.000500 CAN 1 Status:chip status error active
   0.200000 12  419361280x      Tx   d 0
   0.100000 1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%
End TriggerBlock
"""
    log = read_log(write("odd.asc", text))
    frames = FrameBatch.concatenate(list(log))

    assert log.malformed == 0
    assert frames.time_ns.tolist() == [100_000_000, 300_500_000]
    assert frames.can_id.tolist() == [594, 419361280]
    assert frames.flags.tolist() == [0, EXTENDED | TX]
    assert frames.data[0, :2].tolist() == [255, 16]
    assert log.channels == ("0", "12")


def test_a_frame_of_an_asc_may_have_a_name_in_the_place_of_its_identifier(write: Write) -> None:
    text = """base hex  timestamps absolute
   1.000000 1  EngineData   Rx   d 2 34 21  Length = 240000 BitCount = 64 ID = 100
   1.000000 1  ABC   Tx   d 1 34  Length = 240000 BitCount = 64 ID = 419361280x
   1.000000 1  EngineData   Rx   d 2 34 21  Length = 240000 BitCount = 64 ID =
   1.000000 1  EngineData   Rx   d 2 34 21
"""
    log = read_log(write("named.asc", text))
    frames = FrameBatch.concatenate(list(log))

    assert frames.can_id.tolist() == [100, 0x18FEF200]
    assert frames.flags.tolist() == [0, EXTENDED | TX]
    assert log.malformed == 2


@pytest.mark.parametrize(
    "damaged",
    [
        "   0.08",
        "   0.0x3540 0  594   Rx   d 8 34 21 34 21 A0 62 01 20",
        "   0.083540 0  594   Rx   d 8 34 21 34 21 A0 62 01",
        "   0.083540 0  594   Rx   d 8 34 21 34 21 A0 62 01 XX",
        "   0.083540 0  59G   Rx   d 1 34",
        "   0.083540 0  994   Rx   d 1 34",
        "   0.083540 0  594   Rx",
        "   0.083540 CANFD 1 Rx 594 1 0 8",
        "   0.083540 CANFD 1 Rx 594 1 0 9 11 00 00 00 00 00 00 00 00 00 00 00",
        "\x00\x01 garbage",
    ],
)
def test_a_damaged_asc_line_costs_itself_only(write: Write, damaged: str) -> None:
    good = "   0.083540 0  594   Rx   d 2 34 21\n"
    text = f"base hex  timestamps absolute\n{good}{damaged}\n{good}"
    log = read_log(write("damaged.asc", text))

    assert log.scan() == 2
    assert log.malformed == 1
    assert log.first_damage.startswith("line 3")


GVRET_HEADER = "Time Stamp,ID,Extended,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8\n"


@pytest.mark.parametrize(
    ("row", "time_ns", "can_id", "flags", "payload"),
    [
        (
            "1953613500,00000109,false,0,8,00,01,00,FF,FF,FF,0F,3D",
            1_953_613_500_000,
            0x109,
            0,
            "000100ffffff0f3d",
        ),
        ("5,18FEF100,true,0,2,0a,0B,", 5_000, 0x18FEF100, EXTENDED, "0a0b"),
        ("5,18FEF100,1,0,0", 5_000, 0x18FEF100, EXTENDED, ""),
        ("5,109,false,0,0,", 5_000, 0x109, 0, ""),
        ("-364210,109,false,0,1,AA", -364_210_000, 0x109, 0, "aa"),
        ("5, 0x109, False, 0, 1, A", 5_000, 0x109, 0, "0a"),
        ("1.000005,109,false,0,1,AA", 1_000_005_000, 0x109, 0, "aa"),
        ("1673500000123456,109,false,0,1,AA", 1_673_500_000_123_456_000, 0x109, 0, "aa"),
    ],
)
def test_a_gvret_row_becomes_a_frame(
    write: Write, row: str, time_ns: int, can_id: int, flags: int, payload: str
) -> None:
    frames = read(write("one.csv", f"\ufeff{GVRET_HEADER}{row}\r\n"))

    assert frames.time_ns.tolist() == [time_ns]
    assert (frames.can_id[0], frames.flags[0]) == (can_id, flags)
    assert frames.data[0, : frames.length[0]].tobytes() == bytes.fromhex(payload)


def test_gvret_with_directions_and_long_frames(write: Write) -> None:
    header = "Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8\n"
    long = ",".join(f"{i:02X}" for i in range(64))
    rows = f"1,123,false,Rx,0,1,AA,\n2,124,false,Tx,5,64,{long},\n3,125,true,Rx,0,0,\n"
    log = read_log(write("dir.csv", header + rows))
    frames = FrameBatch.concatenate(list(log))

    assert frames.flags.tolist() == [0, TX | FD, EXTENDED]
    assert log.channels == ("0", "5")
    assert frames.data[1].tolist() == list(range(64))


@pytest.mark.parametrize(
    "damaged",
    [
        "1953613500,00000109,false,0,8,00,01,00,FF,FF,FF,0F",
        "1953613500,00000109,false,0,8,00,01,00,FF,FF,FF,0F,3",
        "1953613500,00000109,false,0,8,00,01,00,FF,FF,FF,0F,3DD",
        "1953613500,00000109,false,0,8,00,01,00,FF,FF,FF,0F,GG",
        "1953613500,00000109,maybe,0,8,00,01,00,FF,FF,FF,0F,3D",
        "1953613500,00000909,false,0,8,00,01,00,FF,FF,FF,0F,3D",
        "19536x3500,00000109,false,0,8,00,01,00,FF,FF,FF,0F,3D",
        "1953613500,00000109,false,x,8,00,01,00,FF,FF,FF,0F,3D",
        "1953613500,00000109,false,0,99,00",
        "1953613500,00000109,false,0,-1,00",
        "1953613500",
        "",
    ],
)
def test_a_damaged_gvret_row_costs_itself_only(write: Write, damaged: str) -> None:
    good = "1953613500,00000109,false,0,8,00,01,00,FF,FF,FF,0F,3E\n"
    log = read_log(write("damaged.csv", f"{GVRET_HEADER}{good}{damaged}\n{good}"))
    frames = FrameBatch.concatenate(list(log))

    read_anyway = [f for f in frames.data[:, 7].tolist() if f != 0x3E]
    assert len(frames) - len(read_anyway) == 2
    assert log.malformed + len(read_anyway) == (1 if damaged else 0)
    assert read_anyway in ([], [0x03])
    if log.malformed:
        assert log.first_damage.startswith("line 3")


def test_a_csv_that_is_not_gvret_is_refused(write: Write) -> None:
    with pytest.raises(SourceError, match=r"cycle\.csv.*GVRET.*cycsecs"):
        read_log(write("cycle.csv", "cycSecs,cycMps\n0,0\n")).scan()


def test_trc_versions_without_and_with_a_bus(write: Write) -> None:
    plain = (
        "     1)      1841  0001  8  00 00 00 00 00 00 00 01\n     2)  1842.5  FFFFFFFF  4  00\n"
    )
    assert read(write("v10.trc", plain)).time_ns.tolist() == [1_841_000_000]

    newer = ";$FILEVERSION=1.3\n;$STARTTIME=25569.5\n"
    newer += "  1)  1059.900 2  Rx     0300 -  7    00 00 00 00 04 00 00\n"
    newer += "  2)  1060.900 1  Warng  FFFFFFFF -  4    00 00 00 08\n"
    newer += "  3)  1061.900 1  Rx     18EFC034 -  8    01 02 03 04 05 06 07\n"
    log = read_log(write("v13.trc", newer))
    frames = FrameBatch.concatenate(list(log))
    assert frames.time_ns.tolist() == [43_201_059_900_000]
    assert log.channels == ("2",)
    assert log.malformed == 1
    assert log.first_damage.startswith("line 5")


@pytest.mark.parametrize("year", [0, 1601, 1969, 2263, 9999])
def test_blf_of_a_year_that_64_bits_do_not_hold_counts_from_its_start(
    tmp_path: Path, year: int
) -> None:
    told = messages(20, fd=False)
    path = written_by(can.BLFWriter, tmp_path / "drive.blf", told)
    content = bytearray(path.read_bytes())
    struct.pack_into("<8H", content, 40, year, 1, 0, 1, 0, 0, 0, 0)
    path.write_bytes(content)

    frames = read(path)

    assert len(frames) == len(told)
    assert 0 <= frames.time_ns[0] < 1_000_000_000


def test_damaged_blf_gives_what_is_whole(tmp_path: Path) -> None:
    told = messages(20_000, fd=False)
    path = written_by(can.BLFWriter, tmp_path / "drive.blf", told)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    log = read_log(path)

    frames = FrameBatch.concatenate(list(log))

    assert 5_000 < len(frames) < 20_000
    assert log.malformed >= 1
    assert_same(frames, told[: len(frames)])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no.blf", b"LOBJ nothing"),
        ("no.mf4", b"MDF     4.10 and no more"),
        ("no.asc", b"once upon a time\n"),
        ("no.trc", b"once upon a time\n"),
        ("no.xyz", b"once upon a time\n"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(
    write: Write, name: str, content: bytes
) -> None:
    with pytest.raises(SourceError, match=name):
        read_log(write(name, content)).scan()


def test_a_missing_file_is_refused_with_the_nearest_name(write: Write) -> None:
    path = write("drive.log", "")

    with pytest.raises(SourceError, match=r"drvie\.log: no such file; did you mean drive\.log\?"):
        read_log(path.with_name("drvie.log"))


def test_a_log_of_unknown_suffix_is_known_by_how_it_begins(write: Write) -> None:
    log = read_log(write("drive.txt", "(1.000000) can0 118#00\n"))

    assert log.format == "candump"
    assert log.scan() == 1


@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=300), suffix=st.sampled_from(["asc", "trc", "csv", "blf"]))
def test_noise_never_breaks_a_reader(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, suffix: str
) -> None:
    begin = {
        "asc": b"base hex  timestamps absolute\n",
        "trc": b";$FILEVERSION=2.1\n;$STARTTIME=44548.6\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n",
        "csv": GVRET_HEADER.encode(),
        "blf": b"LOGG" + bytes(140) + b"LOBJ",
    }[suffix]
    path = tmp_path_factory.getbasetemp() / f"noise.{suffix}"
    path.write_bytes(begin + noise)

    try:
        frames = read_log(path).scan()
    except SourceError:
        frames = 0
    assert frames <= len(noise)
