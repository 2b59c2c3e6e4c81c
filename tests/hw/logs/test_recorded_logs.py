"""Every recorded log, against what an independent reader found in it."""

import json
from pathlib import Path

import numpy as np
import pytest

from hw.logs import read_log
from user_lib.contract.frames import ERROR, EXTENDED, FD, REMOTE, TX, FrameBatch

DRIVES = [
    "tesla_m3_drive",
    "kona_power_on_off",
    "kona_bms_idle",
    "seat_obd2_gps",
    "johndeere_j1939_tp",
]


def read_all(path: Path) -> tuple[FrameBatch, tuple[str, ...]]:
    log = read_log(path)
    batches = list(log)
    assert log.malformed == 0
    return FrameBatch.concatenate(batches), log.channels


@pytest.mark.parametrize("drive", DRIVES)
def test_a_drive_is_read_as_the_independent_reader_read_it(data: Path, drive: str) -> None:
    told = json.loads((data / "expected" / f"{drive}.json").read_text())
    if told["log"].endswith("MF4"):
        pytest.importorskip("asammdf")
    frames, channels = read_all(data / told["log"].removeprefix("shared/"))
    expected = told["frames"]

    assert len(frames) == expected["frames"]
    for flag, name in ((EXTENDED, "extended"), (REMOTE, "remote"), (ERROR, "error"), (FD, "fd")):
        assert np.count_nonzero(frames.flags & flag) == expected[name], name
    # What the independent reader calls channel -1 is the 0 that the ASC file writes.
    by_channel = {name.replace("-1", "0"): n for name, n in expected["channels"].items()}
    assert dict(zip(channels, np.bincount(frames.bus).tolist(), strict=True)) == by_channel
    assert frames.time_ns[0] == round(expected["first_t"] * 1e6) * 1_000
    assert abs(int(frames.time_ns[-1]) - expected["last_t"] * 1e9) < 1_000
    lengths, counts = np.unique(frames.length, return_counts=True)
    found = dict(zip(map(str, lengths), counts.tolist(), strict=True))
    assert found == expected["payload_lengths"]
    assert np.count_nonzero(np.diff(frames.time_ns) < 0) == expected["backward_timestamps"]


@pytest.mark.parametrize("drive", DRIVES)
def test_payload_bytes_beyond_the_length_are_zero(data: Path, drive: str) -> None:
    log = json.loads((data / "expected" / f"{drive}.json").read_text())["log"]
    if log.endswith("MF4"):
        pytest.importorskip("asammdf")
    frames, _ = read_all(data / log.removeprefix("shared/"))

    beyond = np.arange(frames.data.shape[1]) >= frames.length[:, None]
    assert not frames.data[beyond].any()
    assert frames.data.any()


def test_asc_holds_every_kind_of_frame(data: Path) -> None:
    frames, channels = read_all(data / "logs/format/logfile.asc")

    assert len(frames) == 20
    assert channels == ("1", "2", "3", "4", "5")
    assert np.count_nonzero(frames.flags & ERROR) == 4
    assert np.count_nonzero(frames.flags & REMOTE) == 4
    assert np.count_nonzero(frames.flags & FD) == 4
    assert frames.length[5] == 8
    assert frames.time_ns[16] == 30_005_071_000
    assert frames.data[18, 63] == 0x64


@pytest.mark.parametrize(("version", "channel"), [("V1_1", ""), ("V2_1", "1")])
def test_trc_versions_agree_and_only_the_newer_names_a_channel(
    data: Path, version: str, channel: str
) -> None:
    frames, channels = read_all(data / f"logs/format/test_CanMessage_{version}.trc")

    assert channels == (channel,)
    assert frames.can_id.tolist() == [0x100] * 3 + [0] * 3 + [0x100] * 4 + [0x704]
    assert frames.time_ns[0] == 1_639_837_704_597_401_000
    assert frames.flags[0] == EXTENDED | TX
    assert frames.flags[-1] == REMOTE
    assert frames.length[-1] == 1


@pytest.mark.parametrize("name", ["test_CanMessage", "test_CanFdMessage64"])
def test_blf_times_are_exact_and_channels_numbered_as_in_the_file(data: Path, name: str) -> None:
    frames, channels = read_all(data / f"logs/format/{name}.blf")

    assert frames.time_ns.tolist() == [2_459_565_876_494_606_882] * 2
    if name == "test_CanMessage":
        assert channels == ("4369",)
        assert frames.data[0].tobytes() == bytes.fromhex("55667788 99aabbcc")
    else:
        assert channels == ("17",)
        assert frames.length.tolist() == [64, 64]
