import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals.history.payloads import FLOOR_PAGES, History
from user_lib.contract.errors import ConfigError
from user_lib.contract.frames import FrameBatch

MS = 1_000_000


def frames(message: list[int], time_ns: list[int], stride: int = 8) -> tuple:
    """Frames whose payload and length tell their place in the stream."""
    batch = FrameBatch.zeros(len(message), stride)
    batch.time_ns[:] = time_ns
    batch.data[:, 0] = np.arange(len(message)) % 251
    batch.length[:] = 1 + np.arange(len(message)) % 8
    batch.can_id[:] = 0x1200 + np.arange(len(message)) % 256
    return batch, batch.time_ns, np.array(message, np.int32)


def fill(history: History, message: int, n: int, *, start_ns: int = 0, step_ns: int = MS) -> None:
    times = [start_ns + i * step_ns for i in range(n)]
    history.append(*frames([message] * n, times))


def test_rows_come_back_as_they_went_in() -> None:
    history = History([8, 8], history_mb=1)
    history.append(*frames([1, -1, 0, 1], [10, 20, 30, 40]))

    rows = history.read(1, 0, 10)

    assert rows.time_ns.tolist() == [10, 40]
    assert rows.data[:, 0].tolist() == [0, 3]
    assert rows.length.tolist() == [1, 4]
    assert rows.source.tolist() == [0, 3]
    assert history.read(0, 0, 10).time_ns.tolist() == [30]


@pytest.mark.parametrize("stride", [8, 64])
def test_payloads_are_cut_or_padded_to_the_message(stride: int) -> None:
    history = History([4, 64], history_mb=1)
    batch = FrameBatch.zeros(2, stride)
    batch.data[:] = 7
    batch.length[:] = stride
    history.append(batch, batch.time_ns, np.array([0, 1], np.int32))

    short, long = history.read(0, 0, 1), history.read(1, 0, 1)

    assert short.data.shape == (1, 8)
    assert short.length.tolist() == [8]
    assert long.data[0].tolist() == [7] * stride + [0] * (64 - stride)
    assert long.length.tolist() == [stride]


def test_old_bytes_of_a_page_never_show_through() -> None:
    history = History([64], history_mb=0.01)
    wide = FrameBatch.zeros(2000, 64)
    wide.data[:] = 255
    wide.length[:] = 64
    history.append(wide, wide.time_ns, np.zeros(2000, np.int32))
    narrow = FrameBatch.zeros(5, 8)
    history.append(narrow, narrow.time_ns, np.zeros(5, np.int32))

    assert not history.read(0, 2000, 2005).data.any()


def test_messages_of_all_lengths_keep_their_own_rows() -> None:
    lengths = [3, 8, 12, 16, 48, 64]
    history = History(lengths, history_mb=1)
    rng = np.random.default_rng(3)
    sent: list[list[tuple[int, int, bytes]]] = [[] for _ in lengths]
    for tick in range(30):
        message = rng.integers(0, len(lengths), 40)
        batch = FrameBatch.zeros(40, 64)
        batch.time_ns[:] = tick * 40 + np.arange(40)
        batch.can_id[:] = rng.integers(0, 256, 40)
        batch.length[:] = [lengths[m] for m in message]
        for row, m in enumerate(message.tolist()):
            payload = rng.bytes(lengths[m])
            batch.data[row, : lengths[m]] = list(payload)
            sent[m].append((int(batch.time_ns[row]), int(batch.can_id[row]), payload))
        history.append(batch, batch.time_ns, message.astype(np.int32))

    for m, expected in enumerate(sent):
        rows = history.read(m, 0, len(expected))
        found = zip(rows.time_ns, rows.source, rows.length, rows.data, strict=True)
        assert [(t, s, d[:n].tobytes()) for t, s, n, d in found] == expected
        assert not rows.data[:, lengths[m] :].any()


def test_a_time_that_steps_back_within_a_message_is_held_and_counted() -> None:
    history = History([8], history_mb=1)
    history.append(*frames([0, 0], [100, 90]))
    history.append(*frames([0], [95]))

    assert history.read(0, 0, 3).time_ns.tolist() == [100, 100, 100]
    assert history.stepped_back == 2


def test_memory_never_exceeds_the_budget() -> None:
    history = History([8] * 20 + [64] * 5, history_mb=2)
    rng = np.random.default_rng(1)
    time_ns = 0
    for _ in range(60):
        message = rng.integers(-1, 25, 2000)
        stamps = time_ns + np.arange(2000) * MS
        history.append(*frames(message.tolist(), stamps.tolist(), 64))
        time_ns = int(stamps[-1])
        held = sum(
            page.time_ns.nbytes + page.length.nbytes + page.source.nbytes + page.data.nbytes
            for m in range(25)
            for page in history.ring(m).pages
        )
        assert held <= history.used_bytes <= history.allocated_bytes <= 2 * 1024 * 1024
    assert history.overwritten > 0
    kept = sum(history.ring(m).head - history.ring(m).tail for m in range(25))
    put = sum(history.ring(m).head for m in range(25))
    assert put == kept + history.overwritten


def test_a_chatty_message_leaves_a_quiet_one_its_floor() -> None:
    history = History([8, 8], history_mb=0.25)
    rows_a_page = history.page_bytes // 19
    fill(history, 1, FLOOR_PAGES * rows_a_page)

    fill(history, 0, 100 * rows_a_page, start_ns=10**12)

    assert history.ring(1).tail == 0
    assert history.ring(0).tail > 0


def test_messages_reach_back_equally_far_in_time() -> None:
    history = History([8, 8], history_mb=0.5)
    message = ([0] * 9 + [1]) * 20_000
    history.append(*frames(message, [i * MS for i in range(len(message))]))

    fast, slow = history.ring(0), history.ring(1)

    assert fast.tail > 0
    assert slow.tail > 0
    page_of_slow_ns = history.page_bytes // 19 * 10 * MS
    assert abs(fast.oldest_ns - slow.oldest_ns) <= 2 * page_of_slow_ns


def test_a_reservation_holds_its_rows_against_everyone() -> None:
    history = History([8, 8], history_mb=0.25)
    rows = 5 * (history.page_bytes // 19)
    reservation = history.reserve({1: rows})
    fill(history, 1, rows)

    fill(history, 0, 20 * rows, start_ns=10**12)
    assert history.ring(1).tail == 0

    assert reservation is not None
    history.release(reservation)
    fill(history, 0, 20 * rows, start_ns=2 * 10**12)
    assert history.ring(1).tail > 0


def test_a_reservation_is_fulfilled_though_others_have_taken_all_pages() -> None:
    history = History([8, 8], history_mb=0.25)
    rows = 5 * (history.page_bytes // 19)
    fill(history, 0, 20 * rows)
    assert history.reserve({1: rows}) is not None

    fill(history, 1, 3 * rows, start_ns=10**12)

    assert history.ring(1).head - history.ring(1).tail >= rows


def test_what_cannot_be_held_is_not_promised() -> None:
    history = History([8, 8], history_mb=0.25)
    all_rows = history.total_pages * history.page_bytes // 19

    assert history.reserve({0: all_rows}) is None
    assert history.reserve({0: all_rows // 3}) is not None
    assert history.reserve({0: all_rows // 3}) is not None  # the same newest rows
    assert history.reserve({1: all_rows}) is None


def test_too_little_memory_for_the_messages_is_refused_with_what_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"history_mb: 0\.01 MB .* 500 messages; give at least"):
        History([8] * 500, history_mb=0.01)


def test_the_number_of_an_overwritten_row_is_reckoned_from_the_rate() -> None:
    history = History([8], history_mb=0.1)
    fill(history, 0, 50_000)
    ring = history.ring(0)

    assert ring.tail > 10_000
    assert ring.seq_at(0) == 0
    assert abs(ring.seq_at(5_000 * MS) - 5_000) <= 1
    assert ring.seq_at((ring.tail + 100) * MS) == ring.tail + 100


rises = st.lists(st.integers(0, 3), min_size=1, max_size=400)


@settings(max_examples=50, deadline=None)
@given(rises, st.lists(st.integers(1, 60), min_size=1, max_size=20), st.data())
def test_a_ring_finds_rows_as_a_list_would(
    steps: list[int], sizes: list[int], data: st.DataObject
) -> None:
    history = History([8, 64], history_mb=0.008)
    times = np.cumsum(steps).tolist()
    done = 0
    while done < len(times):
        part = times[done : done + sizes[done % len(sizes)]]
        history.append(*frames([1] * len(part), part, 64))
        done += len(part)
    ring = history.ring(1)
    kept = range(ring.tail, len(times))
    wanted = data.draw(st.integers(times[ring.tail] + 1, times[-1] + 2))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(times) + 5)] * 2)))

    assert ring.seq_at(wanted) == next((i for i in kept if times[i] >= wanted), len(times))
    assert ring.read(start, stop).time_ns.tolist() == [times[i] for i in kept if start <= i < stop]


frame = st.tuples(st.integers(-1, 3), st.integers(-2, 4))


@settings(max_examples=100, deadline=None)
@given(
    stream=st.lists(frame, min_size=1, max_size=300),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=20),
    stride=st.sampled_from([8, 64]),
)
def test_every_kept_row_is_the_frame_that_was_appended(
    stream: list[tuple[int, int]], sizes: list[int], stride: int
) -> None:
    history = History([8, 64, 3, 8], history_mb=0.017)
    message = [m for m, _ in stream]
    times = np.cumsum([step for _, step in stream]).tolist()
    batch, time_ns, which = frames(message, times, stride)
    done = turn = 0
    while done < len(stream):
        part = slice(done, done + sizes[turn % len(sizes)])
        history.append(batch.take(part), time_ns[part], which[part])
        done, turn = part.stop, turn + 1

    for m in range(4):
        at = [i for i, found in enumerate(message) if found == m]
        ring = history.ring(m)
        rows = ring.read(0, len(at))
        kept = at[ring.tail :]
        assert ring.head == len(at)
        assert rows.data[:, 0].tolist() == [i % 251 for i in kept]
        assert rows.length.tolist() == [1 + i % 8 for i in kept]
        assert rows.source.tolist() == [i % 256 for i in kept]
        assert rows.time_ns.tolist() == [max(times[j] for j in at if j <= i) for i in kept]
        if at:
            assert (ring.first_ns, ring.latest_ns) == (times[at[0]], max(times[i] for i in at))
