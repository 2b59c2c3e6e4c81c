"""Tables of frames that others write: python-can's, read back, and the one of CANedge's tools."""

import gzip
from collections.abc import Callable
from pathlib import Path

import can
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hw import read_log
from user_lib.contract.errors import SourceError
from user_lib.contract.frames import BRS, EXTENDED, FD, REMOTE, TX, FrameBatch

Write = Callable[[str, str | bytes], Path]
CANEDGE = """TimestampEpoch;BusChannel;ID;IDE;DLC;DataLength;Dir;EDL;BRS;DataBytes
1581670628.161550;1;123;0;0;0;0;0;0;
1581670628.161750;2;18feca00;1;8;8;1;0;0;1234567890ABCDEF
1581670628.162000;1;7ff;0;9;12;0;1;1;000102030405060708090a0b
"""


@st.composite
def messages(draw: st.DrawFn) -> can.Message:
    extended, remote = draw(st.booleans()), draw(st.booleans())
    return can.Message(
        timestamp=draw(st.integers(0, 2**51)) / 2**20,
        arbitration_id=draw(st.integers(0, 0x1FFF_FFFF if extended else 0x7FF)),
        is_extended_id=extended,
        is_remote_frame=remote,
        data=b"" if remote else draw(st.binary(max_size=8)),
        dlc=draw(st.integers(0, 8)) if remote else None,
    )


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(told=st.lists(messages(), min_size=1, max_size=5))
def test_a_table_of_python_can_is_read_back(tmp_path: Path, told: list[can.Message]) -> None:
    path = tmp_path / "drive.csv"
    with can.CSVWriter(str(path)) as out:
        for message in told:
            out.on_message_received(message)

    log = read_log(path)
    frames = FrameBatch.concatenate(list(log))

    assert (log.channels, log.malformed) == (("",), 0)
    assert frames.can_id.tolist() == [m.arbitration_id for m in told]
    flags = [EXTENDED * m.is_extended_id | REMOTE * m.is_remote_frame for m in told]
    assert frames.flags.tolist() == flags
    assert frames.length.tolist() == [m.dlc for m in told]
    for data, message in zip(frames.data, told, strict=True):
        assert data[: len(message.data)].tobytes() == message.data
    np.testing.assert_allclose(
        frames.time_ns / 1e9, [m.timestamp for m in told], rtol=1e-15, atol=1e-9
    )


@pytest.mark.parametrize("name", ["drive.csv", "drive.csv.gz", "drive.txt"])
def test_a_table_of_canedge_is_read(write: Write, name: str) -> None:
    log = read_log(write(name, CANEDGE))
    frames = FrameBatch.concatenate(list(log))

    assert (log.channels, log.malformed) == (("1", "2"), 0)
    assert frames.time_ns.tolist() == [
        1581670628_161550_000,
        1581670628_161750_000,
        1581670628_162000_000,
    ]
    assert frames.can_id.tolist() == [0x123, 0x18FECA00, 0x7FF]
    assert frames.flags.tolist() == [0, EXTENDED | TX, FD | BRS]
    assert frames.length.tolist() == [0, 8, 12]
    assert frames.data[1, :8].tobytes().hex() == "1234567890abcdef"


@pytest.mark.parametrize(
    "damaged",
    [
        "1581670628.16;1;123;0;1;1;0;0;0",
        "1581670628.16;1;123;0;2;2;0;0;0;12",
        "1581670628.16;1;923;0;1;1;0;0;0;12",
        "1581670628.16;1;123;0;1;1;0;0;0;1x",
        "1581670628.16;1;123;no;1;1;0;0;0;12",
        "soon;1;123;0;1;1;0;0;0;12",
        "NaN;1;123;0;1;1;0;0;0;12",
        "1e99;1;123;0;1;1;0;0;0;12",
        "-1;1;123;0;1;1;0;0;0;12",
        f"1581670628.16;1;123;0;15;65;0;0;0;{'00' * 65}",
    ],
)
def test_a_damaged_row_costs_itself_only(write: Write, damaged: str) -> None:
    log = read_log(write("drive.csv", f"{CANEDGE}{damaged}\n\n"))

    assert (log.scan(), log.malformed) == (3, 1)
    assert log.first_damage.startswith("line 5")


def test_a_table_of_another_bus_is_refused(write: Write) -> None:
    lin = write(
        "lin.csv", "TimestampEpoch;BusChannel;ID;Dir;DataLength;DataBytes\n1.5;1;3;0;1;12\n"
    )

    with pytest.raises(SourceError, match=r"lin\.csv: a table of CAN frames begins with"):
        read_log(lin).scan()


def test_gzip_is_unpacked_first(tmp_path: Path) -> None:
    path = tmp_path / "table.gz"
    path.write_bytes(gzip.compress(CANEDGE.encode()))

    assert read_log(path).scan() == 3
