"""Logs to files of signals: the recorded drives against independent decodings, and our own."""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbc import DatabaseRef
from hw import model_databases, model_mapping, simulate, write_candump
from user_lib.cli import decode as command
from user_lib.contract.errors import ConfigError, DatabaseError, SourceError
from user_lib.decode.log import decode_log
from user_lib.decode.summary import DecodeSummary

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
recorded = pytest.mark.skipif(not DATA.is_dir(), reason="the recorded drives are not here")

EXACT = ["tesla_m3_drive", "kona_power_on_off", "kona_bms_idle", "seat_obd2_gps"]


def told(drive: str) -> dict[str, Any]:
    return json.loads((DATA / "expected" / f"{drive}.json").read_text())


def databases_of(expected: dict[str, Any]) -> list[DatabaseRef]:
    return [
        DatabaseRef(
            path=DATA / rule["dbc"].removeprefix("shared/"),
            channel=channel,
            j1939=rule["match"] == "j1939",
        )
        for rule in expected["rules"]
        for channel in rule["channels"] or [None]
    ]


def log_of(expected: dict[str, Any]) -> Path:
    path = DATA / expected["log"].removeprefix("shared/")
    if path.suffix == ".MF4":
        pytest.importorskip("asammdf")
    return path


@recorded
@pytest.mark.parametrize("drive", EXACT)
def test_every_value_agrees_with_the_independent_decoder(drive: str, tmp_path: Path) -> None:
    expected = told(drive)
    out = tmp_path / "out.npz"
    summary = decode_log(log_of(expected), databases_of(expected), out=out)
    theirs = np.load(DATA / "expected" / f"{drive}.npz")
    ours = np.load(out)

    compared = 0
    for series in expected["messages"]:
        # What the independent reader calls channel -1 is the 0 that the ASC file writes.
        name = f"{series['channel'].replace('-1', '0')}/{series['message']}"
        times = ours[f"{name}/time_ns"]
        assert len(times) == series["frames"]
        seconds = theirs[f"{series['key']}_t"]
        # Their float seconds since 1970 resolve no better than 0.24 us.
        assert abs(times / 1e9 - seconds).max() <= np.spacing(seconds.max())
        values = theirs[f"{series['key']}_v"]
        for column, signal in enumerate(series["columns"]):
            np.testing.assert_allclose(
                ours[f"{name}/{signal}"], values[:, column], rtol=1e-9, atol=1e-9
            )
            compared += 1
    assert compared
    assert summary.frames == expected["frames"]["frames"]
    assert summary.decoded_frames == expected["frames"]["decoded_frames"]
    assert summary.unmatched_frames == expected["frames"]["frames_absent_in_dbc"]


@recorded
def test_j1939_series_stand_apart_by_source_with_transfers_put_together(tmp_path: Path) -> None:
    expected = told("johndeere_j1939_tp")
    out = tmp_path / "out.npz"
    summary = decode_log(log_of(expected), databases_of(expected), out=out)
    theirs = np.load(DATA / "expected/johndeere_j1939_tp.npz")
    ours = np.load(out)

    for series in expected["messages"]:
        name = f"{series['channel']}/{series['message']}@{series['id'][-2:]}"
        times, seconds = ours[f"{name}/time_ns"], theirs[f"{series['key']}_t"]
        assert len(times) == series["frames"]
        assert abs(times / 1e9 - seconds).max() <= np.spacing(seconds.max())
        for column, signal in enumerate(series["columns"]):
            there = ~np.isnan(ours[f"{name}/{signal}"])
            values = theirs[f"{series['key']}_v"][:, column]
            np.testing.assert_allclose(ours[f"{name}/{signal}"][there], values[there], rtol=1e-9)
            # What they keep as a number and we do not is "not available": all ones.
            assert (values[~there] >= 8190).all()
    assert summary.transfers_completed == expected["frames"]["bam"]["complete"]
    assert summary.transfers_dropped == expected["frames"]["bam"]["unfinished"]
    assert len(expected["messages"]) == len(summary.messages)


@recorded
def test_mapped_signals_stand_under_their_vss_paths(tmp_path: Path) -> None:
    expected = json.loads((DATA / "expected/vss_tesla_m3_drive.json").read_text())
    mapping = DATA / "mapping/kuksa_dbc2vss.vspec"
    drive = told("tesla_m3_drive")
    out = tmp_path / "out.npz"
    decode_log(log_of(drive), databases_of(drive), out=out, mapping=mapping)
    ours = np.load(out)

    by_path = {key.rpartition("/")[2]: key for key in ours.files}
    checked = 0
    for signal in expected:
        if not signal["frames"] or isinstance(signal["first"], str):
            continue
        values = ours[by_path[signal["path"]]]
        values = values[~np.isnan(values)]
        assert len(values) == signal["frames"] - signal["unmapped"], signal["path"]
        ends = [float(signal["first"]), float(signal["last"])]
        assert [values[0], values[-1]] == pytest.approx(ends)
        if signal["min"] is not None:
            assert [values.min(), values.max()] == pytest.approx([signal["min"], signal["max"]])
        checked += 1
    assert checked >= 5


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated drive of half a minute as a log."""
    path = tmp_path_factory.mktemp("drive") / "drive.log"
    simulated = simulate("wagon", 5, 30)
    write_candump(path, simulated, simulated.channels)
    return path


def test_npz_has_a_row_a_frame_and_nan_where_absent(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    summary = decode_log(drive, model_databases("wagon"), out=out)
    arrays = np.load(out)

    page = arrays["can0/Pcm_Thermal/Pcm_ThermalPage"]
    coolant = arrays["can0/Pcm_Thermal/Pcm_CoolTmp"]
    assert arrays["can0/Pcm_Thermal/time_ns"].dtype == np.int64
    assert len(coolant) == len(page) == len(arrays["can0/Pcm_Thermal/time_ns"]) == 60
    assert (np.isnan(coolant) == (page != 0)).all()
    # Id 304 means different things on the two channels.
    assert "can0/Tcu_State/Tcu_GearAct" in arrays
    assert "can1/Epb_Steering/Epb_SteerAngle" in arrays
    assert summary.frames == summary.decoded_frames == sum(m.frames for m in summary.messages)
    assert summary.channels == ("can0", "can1")
    assert {m.message: m.frames for m in summary.messages}["Bcs_Motion"] == 1500


def read_long(path: Path) -> list[tuple[int, str, str, str, float]]:
    if path.suffix == ".csv":
        with path.open(newline="") as text:
            rows: list[dict[str, Any]] = list(csv.DictReader(text))
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = parquet.read_table(path).to_pylist()
    assert list(rows[0]) == ["time_ns", "channel", "message", "source", "signal", "value", "unit"]
    names = ("channel", "message", "signal")
    return [(int(r["time_ns"]), *(r[n] for n in names), float(r["value"])) for r in rows]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_long_outputs_hold_the_same_values_in_time_order(
    drive: Path, tmp_path: Path, suffix: str
) -> None:
    decode_log(drive, model_databases("wagon"), out=tmp_path / "out.npz")
    decode_log(drive, model_databases("wagon"), out=tmp_path / f"out{suffix}")
    arrays = np.load(tmp_path / "out.npz")
    expected = []
    for key in arrays.files:
        channel, message, signal = key.split("/")
        if signal == "time_ns":
            continue
        times = arrays[f"{channel}/{message}/time_ns"]
        for time_ns, value in zip(times.tolist(), arrays[key].tolist(), strict=True):
            if value == value:
                expected.append((time_ns, channel, message, signal, value))

    rows = read_long(tmp_path / f"out{suffix}")

    assert sorted(rows) == sorted(expected)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_a_channel_first_named_late_in_a_log_is_decoded_like_any(tmp_path: Path) -> None:
    simulated = simulate("wagon", 5, 30)
    early, late = tmp_path / "early.log", tmp_path / "late.log"
    write_candump(early, simulated, ("can0", "can1"))
    lines = early.read_text().splitlines(keepends=True)
    of_0 = [line for line in lines if " can0 " in line] * 30
    late.write_text("".join(of_0 + [line for line in lines if " can1 " in line]))

    summary = decode_log(late, model_databases("wagon"), out=tmp_path / "out.npz")

    assert summary.decoded_frames == summary.frames
    frames = {m.message: m.frames for m in summary.messages}
    assert frames["Bcs_Motion"] == 30 * 1500
    assert frames["Epb_Steering"] == 1500


def test_a_log_without_channels_has_keys_that_begin_with_a_slash(tmp_path: Path) -> None:
    log = tmp_path / "drive.trc"
    log.write_text(
        ";$FILEVERSION=1.1\n;$STARTTIME=44548.5\n  1)  10.0  Rx  00A0  8  01 F4 00 00 00 00 00 00\n"
    )
    reference = next(ref for ref in model_databases("wagon") if ref.channel == "can0")
    for channel in (None, ""):
        decode_log(
            log, [DatabaseRef(path=reference.path, channel=channel)], out=tmp_path / "out.npz"
        )
        arrays = np.load(tmp_path / "out.npz")
        assert arrays["/Bcs_Motion/time_ns"].tolist() == [1_639_828_800_010_000_000]
        assert arrays["/Bcs_Motion/Bcs_VehSpd"].tolist() == [250 * 0.005]


def test_what_is_not_decoded_is_counted(tmp_path: Path) -> None:
    log = tmp_path / "odd.log"
    log.write_text(
        "(1.000000) can0 0A0#01F4\n"  # too short for the odometer
        "(1.100000) can0 0A0#R8\n"
        "(1.200000) can0 20000004#0001000000000000\n"
        "(1.300000) can0 7FF#00\n"
        "(1.400000) can0 18F30001#\n"
        "(1.500000) can0 18F30001#0711\n"
        "nonsense\n"
    )
    thermal = "18F30001"
    references = model_databases("wagon")
    content = references[0].path.read_text()
    line = next(x for x in content.splitlines() if "Pcm_Thermal:" in x)
    can_id = int(line.split()[1]) & 0x1FFFFFFF
    log.write_text(log.read_text().replace(thermal, f"{can_id:08X}"))

    summary = decode_log(log, references, out=tmp_path / "out.npz")

    assert summary.frames == 6
    assert summary.decoded_frames == 3
    assert summary.unmatched_frames == 1
    assert summary.remote_frames == 1
    assert summary.error_frames == 1
    assert summary.malformed == 1
    assert summary.first_malformed == "line 7: 'nonsense'"
    absent = {each.message: each for each in summary.absent}
    assert absent["Bcs_Motion"].short_frames == 1
    assert absent["Pcm_Thermal"].unknown_switch_frames == 1
    assert any("can1" in warning for warning in summary.warnings)


def test_strings_of_a_mapping_are_numbers_with_names(tmp_path: Path) -> None:
    log, dbc, mapping = tmp_path / "drive.log", tmp_path / "x.dbc", tmp_path / "x.vspec"
    log.write_text("".join(f"({i}.0) can0 001#0{value}\n" for i, value in enumerate([1, 2, 7, 1])))
    dbc.write_text(
        'BS_:\nBU_:\nBO_ 1 M: 1 A\n SG_ Gear : 0|8@1+ (1,0) [0|0] "" A\nVAL_ 1 Gear 1 "D" 2 "R" ;\n'
    )
    mapping.write_text(
        "Mapped:\n  datatype: string\n  dbc2vss: {signal: M.Gear, transform: {mapping: "
        "[{from: R, to: BACK}, {from: D, to: FORTH}]}}\n"
        "Plain:\n  datatype: string\n  dbc2vss: {signal: Gear}\n"
    )

    decode_log(log, [DatabaseRef(dbc)], mapping=mapping, out=tmp_path / "out.csv", names=True)

    with (tmp_path / "out.csv").open(newline="") as text:
        rows = [(r["signal"], float(r["value"]), r["name"]) for r in csv.DictReader(text)]
    assert [row for row in rows if row[0] == "Mapped"] == [
        ("Mapped", 1.0, "FORTH"),
        ("Mapped", 0.0, "BACK"),
        ("Mapped", 1.0, "FORTH"),
    ]
    plain = [(1.0, "D"), (2.0, "R"), (7.0, ""), (1.0, "D")]
    assert [row[1:] for row in rows if row[0] == "Plain"] == plain


PAGED = """BS_:
BU_:
BO_ 1 M: 2 A
 SG_ Page M : 0|8@1+ (1,0) [0|0] "" A
 SG_ One m1 : 8|8@1+ (1,0) [0|0] "" A
"""


@pytest.mark.parametrize(("kept", "pages"), [(True, [1, 9, 1]), (False, [1, 1])])
def test_a_frame_of_an_unknown_page_is_left_out_unless_it_is_to_be_kept(
    kept: bool, pages: list[int], tmp_path: Path
) -> None:
    log, dbc, out = tmp_path / "drive.log", tmp_path / "x.dbc", tmp_path / "out.npz"
    log.write_text("(1.0) can0 001#0102\n(1.1) can0 001#0902\n(1.2) can0 001#0103\n")
    dbc.write_text(PAGED)

    summary = decode_log(log, [DatabaseRef(dbc)], out=out, keep_unknown_pages=kept)

    arrays = np.load(out)
    assert arrays["can0/M/Page"].tolist() == pages
    assert len(arrays["can0/M/time_ns"]) == len(pages)
    assert summary.absent[0].unknown_switch_frames == 1
    assert (summary.messages[0].frames, summary.messages[0].can_id) == (len(pages), "1")


def test_a_failure_leaves_no_file_behind(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "out.npz"
    with pytest.raises(ConfigError, match=r"results/out\.npz"):
        decode_log(drive, model_databases("wagon"), out=out)
    out.parent.mkdir()
    log = tmp_path / "no.log"
    log.write_text("nothing of the kind\n")
    with pytest.raises(SourceError, match=r"no\.log"):
        decode_log(log, model_databases("wagon"), out=out)

    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("out.xlsx", r"must end in \.npz, \.csv, \.parquet"),
        ("nowhere/out.npz", r"no folder .*nowhere$"),
        ("folder.csv", "it is a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    out: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()

    with pytest.raises(ConfigError, match=words):
        decode_log(tmp_path / "none.log", [], out=tmp_path / out)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["decode", *arguments])
    status: int = args.run(args)
    return status


def test_the_command_prints_what_it_found(
    drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        option
        for ref in model_databases("wagon")
        for option in ("--dbc", f"{ref.channel}={ref.path}")
    ]
    out = tmp_path / "out.npz"
    mapping = ["--mapping", str(model_mapping("wagon"))]

    assert run(str(drive), *files, *mapping, "-o", str(out)) == 0

    shown = capsys.readouterr().out
    assert "Bcs_Motion" in shown
    assert "7800 frames on can0, can1, 7800 decoded" in shown
    arrays = np.load(out)
    kmh = arrays["can0/Bcs_Motion/Vehicle.Speed"]
    assert kmh == pytest.approx(arrays["can0/Bcs_Motion/Bcs_VehSpd"] * 3.6)


def test_the_command_answers_programs_in_json(
    drive: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = f"can0={model_databases('wagon')[0].path}"

    assert run(str(drive), "--dbc", file, "-o", str(tmp_path / "out.csv"), "--json") == 0

    answer = json.loads(capfd.readouterr().out)
    assert answer["frames"] == 7800
    assert answer["unmatched_frames"] > 0
    assert answer["messages"][0]["channel"] == "can0"
    assert set(answer) == set(DecodeSummary.__struct_fields__)


def test_the_command_refuses_a_missing_database(drive: Path, tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"none\.dbc"):
        run(str(drive), "--dbc", str(tmp_path / "none.dbc"), "-o", str(tmp_path / "out.npz"))


KNOWN = 'BS_:\nBU_:\nBO_ 1 M: 1 A\n SG_ S : 0|8@1+ (1,0) [0|0] "" A\n'
NOTHING = "nothing was decoded: "
NO_MATCH = NOTHING + "no frame's identifier is in the databases of its channel ('can0')"


@pytest.mark.parametrize(
    ("frames", "options", "why"),
    [
        ("(1.0) can0 18FEEE00#0102\n", (), NO_MATCH + "; for J1939 give --j1939"),
        ("(1.0) can0 18FEEE00#0102\n", ("--j1939",), NO_MATCH),
        ("(1.0) can0 7FF#0102\n", (), NO_MATCH),
        ("(1.0) can0 001#R1\n", (), NOTHING + "all frames of the log are remote or error frames"),
        ("\n", (), NOTHING + "the log has no frames"),
    ],
)
def test_a_decoding_that_found_nothing_says_why_in_its_last_words(
    frames: str,
    options: tuple[str, ...],
    why: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    log, dbc, out = tmp_path / "drive.log", tmp_path / "x.dbc", tmp_path / "out.csv"
    log.write_text(frames)
    dbc.write_text(KNOWN)
    last = f"oodida: {why}; {out} was not written"

    assert run(str(log), "--dbc", str(dbc), "-o", str(out), "--json", *options) == 2
    said = capfd.readouterr()
    answer = json.loads(said.out)
    assert (answer["warnings"][-1], answer["out"]) == (why, "")
    assert said.err.splitlines()[-1] == last

    assert run(str(log), "--dbc", str(dbc), "-o", str(out), *options) == 2
    said = capfd.readouterr()
    assert NOTHING not in said.out
    assert said.err.splitlines()[-1] == last
    assert sorted(tmp_path.iterdir()) == sorted((log, dbc))


def test_options_for_a_channel_that_the_log_has_not_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log, dbc = tmp_path / "drive.log", tmp_path / "x.dbc"
    log.write_text("(1.0) can0 001#01\n")
    dbc.write_text(KNOWN)
    out = str(tmp_path / "out.csv")
    before = "what was there before"
    rates = ("--bitrate", "can9=250000", "--bitrate", "can0=500000", "--bitrate", "125000")

    assert run(str(log), "--dbc", str(dbc), *rates, "-o", out) == 0
    said = capfd.readouterr()
    assert "bit rate 250000 is for channel 'can9', which the log does not have" in said.out
    assert said.out.count("which the log does not have") == 1
    assert said.err == ""

    Path(out).write_text(before)
    assert run(str(log), "--dbc", f"can1={dbc}", "-o", out) == 2
    said = capfd.readouterr()
    assert "x.dbc is for channel 'can1', which the log does not have" in said.out
    why = f"{NOTHING}no database is for a channel of the log: 'can0'"
    assert said.err == f"oodida: {why}; {out} was not written\n"
    assert Path(out).read_text() == before


def test_pages_that_no_database_has_and_unfinished_payloads_are_reasons_for_nothing(
    tmp_path: Path,
) -> None:
    log, dbc = tmp_path / "drive.log", tmp_path / "x.dbc"
    log.write_text("(1.0) can0 001#0901\n")
    dbc.write_text(
        "BS_:\nBU_:\nBO_ 1 M: 2 A\n"
        ' SG_ Page M : 0|8@1+ (1,0) [0|0] "" A\n SG_ S m1 : 8|8@1+ (1,0) [0|0] "" A\n'
    )
    summary = decode_log(log, [DatabaseRef(path=dbc)], out=tmp_path / "out.csv")
    assert "unknown multiplexer value; --keep-unknown-pages" in summary.warnings[-1]

    log.write_text("(1.0) can0 18ECFF00#20140003FFEEFE00\n")  # announces a payload of 20 bytes
    dbc.write_text('BS_:\nBU_:\nBO_ 2566843904 M: 20 A\n SG_ S : 0|8@1+ (1,0) [0|0] "" A\n')
    summary = decode_log(log, [DatabaseRef(path=dbc, j1939=True)], out=tmp_path / "out.csv")
    assert "no payload is complete" in summary.warnings[-1]


def test_a_repair_of_a_database_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "x.dbc").write_text(KNOWN.removeprefix("BS_:\n"))
    (tmp_path / "drive.log").write_text("(1.0) can0 001#01\n")
    command = [sys.executable, "-m", "user_lib.cli", "decode", "drive.log", "--dbc", "x.dbc"]

    done = subprocess.run(
        [*command, "-o", "out.csv"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("no BS_: section; supplied") == 1
