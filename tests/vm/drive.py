"""A drive for a guest to replay, and what it holds, decoded offline by another program."""

import json
import re
from itertools import islice
from pathlib import Path

import cantools

from hw import SimulatedDrive, write_candump

__all__ = ["prepare", "values"]

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT.parent / "shared" / "data"
LINE = re.compile(r"\(([0-9.]+)\) (\S+) ([0-9A-F]+)#([0-9A-F]*)")
SECONDS = 26.0


def prepare(folder: Path) -> None:
    """Write drive.log, drive.dbc and less.dbc, in which a message is missing, and plan.json.

    It is the recorded Tesla where that is beside the checkout, a simulated car elsewhere.
    """
    log = RECORDED / "logs" / "tesla_m3_drive.candump.log"
    if log.exists():
        database = RECORDED / "dbc" / "tesla_model3.dbc"
        lines = log.read_text().splitlines()
        plan = {"lead": "ID257DIspeed.DI_vehicleSpeed", "beside": "ID257DIspeed.DI_uiSpeed"}
        plan |= {"vanishes": "ID118DriveSystemStatus.DI_accelPedalPos", "samples": 100}
        gone = "BO_ 280 ID118DriveSystemStatus"
    else:
        database = ROOT / "dbc" / "files" / "compact_powertrain.dbc"
        simulated = folder / "simulated.log"
        drive = SimulatedDrive("compact", seed=3)
        write_candump(simulated, islice(drive, 400), drive.channels)
        lines = [x for x in simulated.read_text().splitlines() if " can0 " in x]
        plan = {"lead": "VehicleMotion.VehicleSpeed", "beside": "VehicleMotion.Odometer"}
        plan |= {"vanishes": "EngineData.EngineSpeed", "samples": 100}
        gone = "BO_ 256 EngineData"
    began = float(_parts(lines[0])[1])
    kept = [x for x in lines if float(_parts(x)[1]) < began + SECONDS]
    plan["channel"] = _parts(kept[0])[2]
    (folder / "drive.log").write_text("\n".join(kept) + "\n")
    text = database.read_text(encoding="utf-8", errors="replace")
    (folder / "drive.dbc").write_text(text)
    (folder / "less.dbc").write_text(re.sub(rf"{gone}: .*?\n\s*\n", "", text, flags=re.DOTALL))
    (folder / "plan.json").write_text(json.dumps(plan))


def values(folder: Path, signal: str) -> list[float]:
    """Decode a signal in the drive with cantools, frame by frame."""
    message_name, _, name = signal.partition(".")
    database = cantools.database.load_file(folder / "drive.dbc", strict=False)
    message = database.get_message_by_name(message_name)
    found = []
    for line in (folder / "drive.log").read_text().splitlines():
        parts = _parts(line)
        if int(parts[3], 16) == message.frame_id:
            decoded = message.decode(bytes.fromhex(parts[4]), decode_choices=False)
            found.append(float(decoded[name]))
    return found


def _parts(line: str) -> "re.Match[str]":
    found = LINE.match(line)
    assert found is not None, line
    return found
