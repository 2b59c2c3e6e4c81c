"""What is measured of a message's frames, against a plain account of them, frame by frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals import run_on_log
from agent.signals.names import Derivation
from agent.signals.profile import Profile
from agent.signals.recording import Recording
from dbc import Catalog, DatabaseRef, load
from hw.simulated.car import model_databases, simulate
from user_lib.contract.clock import MS
from user_lib.contract.errors import UnknownSignal
from user_lib.contract.frames import EXTENDED, FrameBatch
from user_lib.contract.validation import parse

GUARDED_DBC = """VERSION "1"
NS_ :
BS_:
BU_: ECU
BO_ 256 Brake: 4 ECU
 SG_ Pressure : 0|8@1+ (0.1,0) [0|25] "bar" ECU
 SG_ Alive : 8|4@1+ (1,0) [0|14] "" ECU
 SG_ Sum : 24|8@1+ (1,0) [0|255] "" ECU
BO_ 257 Steer: 8 ECU
 SG_ Page M : 0|8@1+ (1,0) [0|3] "" ECU
 SG_ COUNTER m1 : 8|2@1+ (1,0) [0|3] "" ECU
BO_ 258 Plain: 2 ECU
 SG_ Value : 0|16@1+ (1,0) [0|0] "" ECU
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 65535;
BA_DEF_ SG_ "SignalRole" ENUM "None","Counter","ChecksumXor8","ChecksumSum8";
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_DEF_DEF_ "SignalRole" "None";
BA_ "GenMsgCycleTime" BO_ 256 10;
BA_ "SignalRole" SG_ 256 Alive 1;
BA_ "SignalRole" SG_ 256 Sum 3;
"""
BRAKE, STEER, PLAIN = 256, 257, 258
NAMES = {
    BRAKE: ("Brake", ("count", "gap_ms", "jitter_ms", "counter_errors", "checksum_errors")),
    STEER: ("Steer", ("count", "gap_ms", "counter_errors")),
    PLAIN: ("Plain", ("count", "gap_ms")),
}

TRUCK_DBC = """VERSION "1"
NS_ :
BS_:
BU_: ECU
BO_ 2364540158 EEC1: 8 ECU
 SG_ COUNTER : 0|4@1+ (1,0) [0|15] "" ECU
"""
EEC1 = 0xCF00400


@dataclass(frozen=True)
class Sent:
    """One frame as a test writes it."""

    time_ns: int
    can_id: int
    payload: bytes
    flags: int = 0


def batch_of(frames: Sequence[Sent]) -> FrameBatch:
    batch = FrameBatch.zeros(len(frames))
    for i, frame in enumerate(frames):
        batch.time_ns[i], batch.can_id[i] = frame.time_ns, frame.can_id
        batch.flags[i], batch.length[i] = frame.flags, len(frame.payload)
        batch.data[i, : len(frame.payload)] = list(frame.payload)
    return batch


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    path = tmp_path_factory.mktemp("guarded") / "guarded.dbc"
    path.write_text(GUARDED_DBC)
    return load([DatabaseRef(path=path, channel="can0")])


@pytest.fixture(scope="module")
def truck(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    path = tmp_path_factory.mktemp("truck") / "truck.dbc"
    path.write_text(TRUCK_DBC)
    return load([DatabaseRef(path=path, channel="can0", j1939=True)])


def recorded(catalog: Catalog, frames: Sequence[Sent], cuts: Sequence[int] = ()) -> Recording:
    recording = Recording(catalog, ["can0"], history_mb=1.0)
    for part in np.split(np.arange(len(frames)), sorted(min(c, len(frames)) for c in cuts)):
        recording.add(batch_of([frames[i] for i in part]))
    return recording


def measured(recording: Recording, name: str, start: int = 0, stop: int = 10**9) -> list[Any]:
    """Return (row, value) of each sample."""
    samples = recording.reader.rows(recording.names.resolve(name), start, stop)
    return list(zip(samples.seq.tolist(), samples.values.tolist(), strict=True))


def account(frames: Sequence[Sent], can_id: int) -> dict[str, dict[int, float]]:
    """Say of each frame of a message what is to be measured of it; absent where nothing is."""
    found: dict[str, dict[int, float]] = {
        k: {} for k in ("count", "gap_ms", "jitter_ms", "counter_errors", "checksum_errors")
    }
    before_ns = counter = None
    for row, frame in enumerate(f for f in frames if f.can_id == can_id):
        found["count"][row] = 1
        if before_ns is not None:
            found["gap_ms"][row] = (frame.time_ns - before_ns) / MS
            found["jitter_ms"][row] = (frame.time_ns - before_ns) / MS - 10
        before_ns = frame.time_ns
        now = counter_of(can_id, frame.payload)
        if now is not None:
            if counter is not None:
                top = 14 if can_id == BRAKE else 3
                right = now == counter + 1 or (counter in (top, 15) and now == 0)
                found["counter_errors"][row] = float(not right)
            counter = now
        if can_id == BRAKE and len(frame.payload) >= 4:
            wrong = sum(frame.payload[:3]) % 256 != frame.payload[3]
            found["checksum_errors"][row] = float(wrong)
    return found


def counter_of(can_id: int, payload: bytes) -> int | None:
    if len(payload) < 2 or can_id == PLAIN:
        return None
    if can_id == BRAKE:
        return payload[1] & 15
    return payload[1] & 3 if payload[0] == 1 else None


@st.composite
def traffic(draw: st.DrawFn) -> list[Sent]:
    """Frames that often count on and often have a right sum, but not always."""
    frames, time_ns, count = [], draw(st.integers(0, 10)) * MS, 0
    for _ in range(draw(st.integers(1, 40))):
        time_ns += draw(st.sampled_from([0, 1, 9, 10, 11, 300])) * MS // draw(st.integers(1, 3))
        can_id = draw(st.sampled_from([BRAKE, BRAKE, STEER, PLAIN]))
        count = (count + draw(st.sampled_from([1, 1, 1, 0, 2, 14]))) % 16
        head = bytes([draw(st.integers(0, 2)), count, draw(st.integers(0, 255))])
        last = (sum(head) + draw(st.sampled_from([0, 0, 1]))) % 256
        length = draw(st.sampled_from([8, 4, 4, 4, 3, 1]))
        frames.append(Sent(time_ns, can_id, (head + bytes([last]) + bytes(4))[:length]))
    return frames


@settings(max_examples=150, deadline=None)
@given(frames=traffic(), cuts=st.lists(st.integers(0, 40), max_size=4), data=st.data())
def test_each_measure_is_what_a_plain_account_says(
    guarded: Catalog, frames: list[Sent], cuts: list[int], data: st.DataObject
) -> None:
    recording = recorded(guarded, frames, cuts)
    for can_id, (message, kinds) in NAMES.items():
        expected = account(frames, can_id)
        start = data.draw(st.integers(0, 10))
        stop = data.draw(st.integers(start, 45))
        for kind in kinds:
            found = dict(measured(recording, f"@message.{message}.{kind}", start, stop))
            wanted = {row: v for row, v in expected[kind].items() if start <= row < stop}
            assert found == pytest.approx(wanted), kind


@settings(max_examples=80, deadline=None)
@given(
    senders=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.booleans()), min_size=1),
    start=st.integers(0, 30),
)
def test_frames_of_a_j1939_message_follow_those_of_their_own_sender(
    truck: Catalog, senders: list[tuple[int, int, bool]], start: int
) -> None:
    frames, time_ns, counts = [], 0, {}
    gaps, errors, latest = {}, {}, {}
    for row, (sender, wait_ms, right) in enumerate(senders):
        time_ns += wait_ms * MS
        counts[sender] = (counts.get(sender, 0) + (1 if right else 5)) % 15  # 15: not available
        payload = bytes([counts[sender]]) + bytes(7)
        frames.append(Sent(time_ns, EEC1 | sender, payload, EXTENDED))
        if sender in latest:
            gaps[row], errors[row] = (time_ns - latest[sender]) / MS, float(not right)
        latest[sender] = time_ns

    recording = recorded(truck, frames)

    def from_start(found: dict[int, float], sender: int | None = None) -> dict[int, float]:
        return {
            row: value
            for row, value in found.items()
            if row >= start and sender in (None, senders[row][0])
        }

    assert dict(measured(recording, "@message.EEC1.gap_ms", start)) == from_start(gaps)
    assert dict(measured(recording, "@message.EEC1.counter_errors", start)) == from_start(errors)
    assert dict(measured(recording, "@message.EEC1@02.gap_ms", start)) == from_start(gaps, 2)


def test_a_predecessor_is_found_from_far_back(truck: Catalog) -> None:
    frames = [Sent(0, EEC1 | 9, bytes(8), EXTENDED)]
    frames += [Sent(i * MS, EEC1, bytes(8), EXTENDED) for i in range(1, 3000)]
    frames += [Sent(3000 * MS, EEC1 | 9, bytes(8), EXTENDED)]

    recording = recorded(truck, frames, [1000, 2000])

    assert measured(recording, "@message.EEC1.gap_ms", 3000) == [(3000, 3000.0)]


def test_the_oldest_frame_that_is_kept_has_no_gap(guarded: Catalog) -> None:
    frames = [Sent(i * 10 * MS, BRAKE, bytes([0, i % 15, 0, 0])) for i in range(60_000)]
    recording = Recording(guarded, ["can0"], history_mb=0.25)
    recording.add(batch_of(frames))
    tail = recording.history.ring(0).tail
    assert tail > 0

    gaps = measured(recording, "@message.Brake.gap_ms")

    assert gaps[0] == (tail + 1, 10.0)
    assert len(gaps) == 60_000 - tail - 1


def test_only_what_a_database_tells_enough_of_is_offered(guarded: Catalog) -> None:
    names = recorded(guarded, []).names
    listed = {info.name: info for info in names.describe()}

    for message, kinds in NAMES.values():
        offered = {n for n in listed if n.startswith(f"@message.{message}.")}
        assert offered == {f"@message.{message}.{kind}" for kind in kinds}
    assert listed["@message.Brake.gap_ms"].unit == "ms"
    assert listed["@message.Brake.gap_ms"].message == "Brake"
    assert listed["@bus.can0.load"].unit == "%"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("@message.Brakes.gap_ms", "@message.Brake.gap_ms"),
        ("@message.Brake.gap", "@message.Brake.gap_ms"),
        ("@message.Plain.jitter_ms", "@message.Plain.count"),
        ("@message.Brake@00.gap_ms", "@message.Brake.gap_ms"),
        ("can7:@message.Brake.gap_ms", "@message.Brake.gap_ms"),
        ("@bus.can1.load", "@bus.can0.load"),
    ],
)
def test_an_unknown_measure_is_answered_with_the_nearest(
    guarded: Catalog, name: str, near: str
) -> None:
    with pytest.raises(UnknownSignal) as caught:
        recorded(guarded, []).names.resolve(name)

    assert near in caught.value.near


def test_messages_of_one_name_are_told_apart_by_their_channel(tmp_path: Path) -> None:
    path = tmp_path / "any.dbc"
    path.write_text(GUARDED_DBC)
    recording = Recording(load([DatabaseRef(path=path)]), ["can0", "can1"])
    batch = batch_of([Sent(i * MS, PLAIN, bytes(2)) for i in (0, 1, 3, 6)])
    batch.bus[:] = [0, 1, 0, 1]
    recording.add(batch)

    assert measured(recording, "can0:@message.Plain.gap_ms") == [(1, 3.0)]
    assert measured(recording, "can1:@message.Plain.gap_ms") == [(1, 5.0)]
    with pytest.raises(UnknownSignal) as caught:
        recording.names.resolve("@message.Plain.gap_ms")
    assert caught.value.near == ("can0:@message.Plain.gap_ms", "can1:@message.Plain.gap_ms")
    listed = {info.name for info in recording.names.describe()}
    assert {"can0:@message.Plain.gap_ms", "can1:@message.Plain.gap_ms"} <= listed


def profile_of(catalog: Catalog, derived: dict[str, Derivation]) -> Profile:
    class Loaded(Profile):
        def load_catalog(self) -> Catalog:
            return catalog

    return Loaded(name="test", model="test", databases=(), derived=derived)


def test_a_gap_can_trigger_and_be_derived_from(guarded: Catalog) -> None:
    times = [*range(0, 500, 10), *range(700, 1200, 10)]
    frames = [Sent(t * MS, BRAKE, bytes([t % 200, 0, 0, 0])) for t in times]
    derived = {"Bus.Late": Derivation("max(@message.Brake.jitter_ms, 0)", "ms")}
    spec = parse(
        {
            "signals": ["Brake.Pressure", "Bus.Late", "@bus.can0.frames"],
            "onboard": "collect",
            "when": {"condition": "@message.Brake.gap_ms > 100", "before_s": 0.3, "after_s": 0.1},
        }
    )

    (window,) = run_on_log(spec, profile_of(guarded, derived), [batch_of(frames)], ["can0"])

    assert window.trigger_ns == 700 * MS
    assert window.times["Brake.Pressure"].tolist() == [t * MS for t in times if 400 <= t <= 800]
    assert window["Bus.Late"].max() == 200.0
    assert dict(zip(window.times["@bus.can0.frames"], window["@bus.can0.frames"], strict=True)) == {
        400 * MS: 10,
        500 * MS: 10,
        600 * MS: 0,
        700 * MS: 0,
        800 * MS: 10,
    }


Damage = Callable[[FrameBatch, np.ndarray], FrameBatch]


def _drop(batch: FrameBatch, rows: np.ndarray) -> FrameBatch:
    return batch.take(~np.isin(np.arange(len(batch)), rows[[300, 301, 302]]))


def _stuck(batch: FrameBatch, rows: np.ndarray) -> FrameBatch:
    batch.data[rows[300]] = batch.data[rows[299]]
    return batch


def _spoil(batch: FrameBatch, rows: np.ndarray) -> FrameBatch:
    batch.data[rows[[300, 400]], 0] ^= 0x40
    return batch


@pytest.mark.parametrize(
    ("damage", "counter_errors", "checksum_errors", "longest_ms"),
    [(None, 0, 0, 10), (_drop, 1, 0, 40), (_stuck, 2, 0, 10), (_spoil, 0, 2, 10)],
)
def test_damage_done_to_a_simulated_drive_is_found(
    damage: Damage | None, counter_errors: int, checksum_errors: int, longest_ms: float
) -> None:
    batch = FrameBatch.concatenate(list(simulate("compact", 3, 8.0)))
    rows = np.flatnonzero(batch.can_id == 256)
    if damage is not None:
        batch = damage(batch, rows)
    kinds = ("counter_errors", "checksum_errors", "gap_ms", "jitter_ms", "count")
    spec = parse(
        {
            "signals": [f"@message.EngineData.{kind}" for kind in kinds],
            "onboard": "sum",
            "window": {"seconds": 7},
        }
    )

    (window,) = run_on_log(spec, load(model_databases("compact")), [batch], ["can0", "can1"])

    found = dict(zip(kinds, (window[name] for name in spec.signals), strict=True))
    assert found["counter_errors"].sum() == counter_errors
    assert found["checksum_errors"].sum() == checksum_errors
    assert found["gap_ms"].max() == pytest.approx(longest_ms, abs=0.2)
    np.testing.assert_allclose(found["jitter_ms"], found["gap_ms"] - 10)
    assert found["count"].sum() == len(window.times[spec.signals[4]]) == len(found["gap_ms"]) + 1
