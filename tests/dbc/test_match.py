from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbc.match import Matcher, parameter_group
from dbc.model import MessageDef
from user_lib.contract.frames import ERROR, EXTENDED, FD, REMOTE, TX, FrameBatch


def message(
    can_id: int, *, extended: bool = False, channel: str = "a", j1939: bool = False
) -> MessageDef:
    return MessageDef(
        name=f"M{can_id}", can_id=can_id, extended=extended, length=8, signals=(),
        channel=channel, j1939=j1939,
    )  # fmt: skip


def test_eleven_and_29_bit_ids_are_apart(frames: Callable[..., FrameBatch]) -> None:
    matcher = Matcher([message(0x100), message(0x100, extended=True)], ["a"])

    found = matcher.match(frames([(0, 0x100, 0, b""), (0, 0x100, EXTENDED, b"")]))

    assert found.tolist() == [0, 1]


def test_the_same_id_on_two_buses_is_two_messages(frames: Callable[..., FrameBatch]) -> None:
    matcher = Matcher([message(5, channel="b"), message(5, channel="a")], ["a", "b", "c"])

    found = matcher.match(frames([(0, 5, 0, b""), (1, 5, 0, b""), (2, 5, 0, b"")]))

    assert found.tolist() == [1, 0, -1]


@pytest.mark.parametrize("flags", [REMOTE, ERROR, REMOTE | ERROR, REMOTE | FD, ERROR | TX])
def test_remote_and_error_frames_match_nothing(
    flags: int, frames: Callable[..., FrameBatch]
) -> None:
    matcher = Matcher([message(5), message(0)], ["a"])

    assert matcher.match(frames([(0, 5, flags, b""), (0, 0, flags, b"")])).tolist() == [-1, -1]


def test_other_flags_do_not_matter(frames: Callable[..., FrameBatch]) -> None:
    assert Matcher([message(5)], ["a"]).match(frames([(0, 5, FD | TX, b"")])).tolist() == [0]


def test_no_messages_match_nothing(frames: Callable[..., FrameBatch]) -> None:
    assert Matcher([], ["a"]).match(frames([(0, 5, 0, b"")])).tolist() == [-1]


@settings(max_examples=60, deadline=None)
@given(
    known=st.sets(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 40)), max_size=60),
    seen=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 60)), max_size=80),
    spread=st.sampled_from([1, 37, 0x10001]),
)
def test_matching_agrees_with_a_dictionary(
    known: set[tuple[int, bool, int]], seen: list[tuple[int, bool, int]], spread: int
) -> None:
    channels = ["a", "b", "c", "d"]
    messages = [
        message(i * spread, extended=e, channel=channels[bus]) for bus, e, i in sorted(known)
    ]
    table = {(m.channel, m.extended, m.can_id): n for n, m in enumerate(messages)}
    batch = FrameBatch.zeros(len(seen))
    for row, (bus, extended, i) in enumerate(seen):
        batch.bus[row], batch.can_id[row], batch.flags[row] = bus, i * spread, EXTENDED * extended

    found = Matcher(messages, channels).match(batch)

    assert found.tolist() == [table.get((channels[b], e, i * spread), -1) for b, e, i in seen]


def test_frames_of_a_bus_without_messages_match_nothing() -> None:
    matcher = Matcher([message(i, channel="a") for i in range(60)], ["a", "b", "c"])
    batch = FrameBatch.zeros(120)
    batch.can_id[:] = np.arange(120) % 60
    batch.bus[:] = np.repeat([2, 0], 60)

    assert matcher.match(batch).tolist() == [*[-1] * 60, *range(60)]


def test_an_id_too_great_for_11_bits_is_itself_without_the_flag_of_29() -> None:
    matcher = Matcher([message(0x801), message(1)], ["a"])
    batch = FrameBatch.zeros(3)
    batch.can_id[:] = [1, 0x801, 0x1001]

    assert matcher.match(batch).tolist() == [1, 0, -1]


def test_thousands_of_ids_are_found_and_their_neighbours_are_not() -> None:
    rng = np.random.default_rng(4)
    ids = rng.choice(0x1FFFFFFF, 5000, replace=False)
    matcher = Matcher([message(int(i), extended=True) for i in ids[:4000]], ["a"])
    batch = FrameBatch.zeros(5000)
    batch.can_id[:], batch.flags[:] = ids, EXTENDED

    assert matcher.match(batch).tolist() == [*range(4000), *[-1] * 1000]


def test_a_parameter_group_has_no_destination_below_pdu2() -> None:
    ids = np.array([0x18EAFF03, 0x18EA2103, 0x0CF00400, 0x18FEF147], np.uint32)

    assert [hex(g) for g in parameter_group(ids)] == ["0xea00", "0xea00", "0xf004", "0xfef1"]


def test_j1939_matches_any_priority_source_and_destination(
    frames: Callable[..., FrameBatch],
) -> None:
    matcher = Matcher([message(0x0CF004FE, extended=True, j1939=True)], ["a"])

    found = matcher.match(
        frames([(0, 0x18F00421, EXTENDED, b""), (0, 0x0CF00500, EXTENDED, b""), (0, 0x421, 0, b"")])
    )

    assert found.tolist() == [0, -1, -1]


def test_a_group_of_one_sender_counts_before_the_group_of_any(
    frames: Callable[..., FrameBatch],
) -> None:
    ids = (0x18FF5021, 0x18FF50FE, 0x18FF5022)
    matcher = Matcher([message(i, extended=True, j1939=True) for i in ids], ["a"])

    found = matcher.match(frames([(0, i, EXTENDED, b"") for i in (*ids, 0x18FF5044, 0x0CFF5044)]))

    assert found.tolist() == [0, 1, 2, 1, 1]
