"""A small car with every trait that matters here, and a slow, plain account of what it sent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from agent.signals.names import Derivation
from agent.signals.profile import Profile
from agent.signals.recording import Recording
from agent.signals.timeline import LATENESS_NS
from dbc import Catalog, DatabaseRef, load
from user_lib.contract.frames import FrameBatch

CAR_DBC = """VERSION "1"
NS_ :
BS_:
BU_: ECU
BO_ 256 Motion: 8 ECU
 SG_ Speed : 0|16@1+ (0.01,0) [0|655.35] "km/h" ECU
 SG_ Accel : 16|16@1- (0.01,0) [-327|327] "m/s^2" ECU
BO_ 512 Brake: 4 ECU
 SG_ Pressure : 0|16@1+ (0.1,0) [0|6553] "bar" ECU
BO_ 768 Body: 8 ECU
 SG_ Mode M : 0|8@1+ (1,0) [0|255] "" ECU
 SG_ Door m0 : 8|8@1+ (1,0) [0|255] "" ECU
 SG_ Warmth m1 : 8|16@1- (0.5,0) [-100|100] "degC" ECU
BO_ 1024 Radar: 64 ECU
 SG_ Range : 504|8@1+ (1,0) [0|255] "m" ECU
"""
MOTION, BRAKE, BODY, RADAR = 256, 512, 768, 1024
CHANNELS = ("can0",)
DERIVED = {"Car.Work": Derivation("Motion.Speed * Brake.Pressure", "kN")}
STRIDES = {MOTION: 8, BRAKE: 4, BODY: 8, RADAR: 64}


@dataclass(frozen=True)
class Frame:
    """One frame as a test writes it."""

    time_ns: int
    can_id: int
    payload: bytes


def motion(time_ns: int, speed: int, accel: int = 0, length: int = 8) -> Frame:
    data = int(speed).to_bytes(2, "little") + int(accel).to_bytes(2, "little", signed=True)
    return Frame(time_ns, MOTION, (data + bytes(4))[:length])


def brake(time_ns: int, pressure: int) -> Frame:
    return Frame(time_ns, BRAKE, int(pressure).to_bytes(2, "little") + bytes(2))


def body(time_ns: int, mode: int, value: int) -> Frame:
    return Frame(time_ns, BODY, bytes([mode, value]) + bytes(6))


def batch_of(frames: Sequence[Frame], bus: int = 0) -> FrameBatch:
    stride = 64 if any(len(f.payload) > 8 for f in frames) else 8
    batch = FrameBatch.zeros(len(frames), stride)
    for i, frame in enumerate(frames):
        batch.time_ns[i], batch.can_id[i], batch.bus[i] = frame.time_ns, frame.can_id, bus
        batch.length[i] = len(frame.payload)
        batch.data[i, : len(frame.payload)] = list(frame.payload)
    return batch


@dataclass
class Reference:
    """What the frames say, worked out one by one, by the rules as they are written down."""

    frames: Sequence[Frame]
    placed: list[int] = field(default_factory=list)
    rows: dict[int, list[tuple[int, Frame]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        newest = first = None
        for frame in self.frames:
            first = frame.time_ns if first is None else first
            newest = frame.time_ns if newest is None else max(newest, frame.time_ns)
            time_ns = max(frame.time_ns, newest - LATENESS_NS, first)
            rows = self.rows.setdefault(frame.can_id, [])
            if rows:
                time_ns = max(time_ns, rows[-1][0])
            rows.append((time_ns, frame))
            self.placed.append(time_ns)

    @property
    def first_ns(self) -> int:
        return self.frames[0].time_ns

    @property
    def latest_ns(self) -> int:
        return max(frame.time_ns for frame in self.frames)

    def samples(self, name: str) -> list[tuple[int, int, float]]:
        """Return (row, time, value) of every sample of a signal."""
        if name == "Car.Work":
            return self._work()
        message, read = {
            "Motion.Speed": (MOTION, lambda p: _read(p, 0, 0.01, signed=False)),
            "Motion.Accel": (MOTION, lambda p: _read(p, 2, 0.01, signed=True)),
            "Brake.Pressure": (BRAKE, lambda p: _read(p, 0, 0.1, signed=False)),
            "Body.Mode": (BODY, lambda p: float(p[0])),
            "Body.Door": (BODY, lambda p: float(p[1]) if p[0] == 0 else None),
            "Body.Warmth": (BODY, lambda p: _read(p, 1, 0.5, signed=True) if p[0] == 1 else None),
        }[name]
        found = [
            (row, time_ns, read(frame.payload))
            for row, (time_ns, frame) in enumerate(self.rows.get(message, []))
        ]
        return [(row, time_ns, value) for row, time_ns, value in found if value is not None]

    def _work(self) -> list[tuple[int, int, float]]:
        found = []
        for row, time_ns, speed in self.samples("Motion.Speed"):
            pressure = self.held("Brake.Pressure", time_ns)
            if pressure is not None:
                found.append((row, time_ns, speed * pressure))
        return found

    def held(self, name: str, at_ns: int) -> float | None:
        before = [value for _, time_ns, value in self.samples(name) if time_ns <= at_ns]
        return before[-1] if before else None


def _read(payload: bytes, at: int, factor: float, *, signed: bool) -> float | None:
    if len(payload) < at + 2:
        return None
    return int.from_bytes(payload[at : at + 2], "little", signed=signed) * factor


class Car:
    """What the tests of this folder share."""

    Frame, Reference = Frame, Reference
    motion, brake, body = staticmethod(motion), staticmethod(brake), staticmethod(body)
    batch_of = staticmethod(batch_of)
    channels, derived = CHANNELS, DERIVED
    MOTION, BRAKE, BODY, RADAR = 0, 1, 2, 3

    def __init__(self, dbc: Path) -> None:
        self.dbc = dbc
        self.profile = Profile(
            name="test",
            model="test",
            databases=(DatabaseRef(path=dbc, channel="can0"),),
            derived=dict(DERIVED),
        )
        self.catalog: Catalog = load([DatabaseRef(path=dbc, channel="can0")])

    def recording(self, history_mb: float = 1.0) -> Recording:
        return Recording(self.catalog, CHANNELS, derived=DERIVED, history_mb=history_mb)

    def split(self, frames: Sequence[Frame], cuts: Sequence[int]) -> list[FrameBatch]:
        """Return the frames as batches that end at ``cuts``."""
        edges = sorted({0, len(frames), *(min(cut, len(frames)) for cut in cuts)})
        return [batch_of(frames[a:b]) for a, b in pairwise(edges)]


@pytest.fixture(scope="session")
def car(tmp_path_factory: pytest.TempPathFactory) -> Car:
    path = tmp_path_factory.mktemp("car") / "car.dbc"
    path.write_text(CAR_DBC)
    return Car(path)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recorded drives are not here")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
