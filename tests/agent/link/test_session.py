from hypothesis import given
from hypothesis import strategies as st

from agent.link.session import (
    LinkState,
    SayHeartbeat,
    SayHello,
    SendEntry,
    Session,
    acknowledged,
    connected,
    disconnected,
    heard,
    hello_asked,
    nudged,
    poll,
    unanswered_ns,
    wake_ns,
    welcomed,
)
from agent.store import Entry
from user_lib.contract.clock import SECOND
from user_lib.contract.messages import Welcome

S = SECOND


def welcome(lease_s: float, messages_per_s: float = 0, mb_per_s: float = 0) -> Welcome:
    return Welcome(
        lease_s=lease_s, cloud_version="1", messages_per_s=messages_per_s, mb_per_s=mb_per_s
    )


def up(now_s: float = 0, lease_s: float = 6) -> Session:
    session = welcomed(connected(Session(), 0), welcome(lease_s), int(now_s * S))
    return poll(session, [], int(now_s * S))[0]


def test_nothing_is_said_without_a_connection() -> None:
    assert poll(Session(), [Entry(1, 1)], 5 * S) == (Session(), ())
    assert wake_ns(Session()) is None


def test_hello_comes_first_and_again_with_back_off() -> None:
    session = connected(Session(), 0)
    said = []
    for second in range(40):
        session, commands = poll(session, [Entry(1, 1)], second * S)
        said += [second for c in commands if c == SayHello()]
        assert SayHeartbeat() not in commands

    assert said == [0, 1, 3, 7, 15, 25, 35]


def test_a_heartbeat_comes_every_third_of_the_lease() -> None:
    session = welcomed(connected(Session(), 0), welcome(6.0), 0)
    beats = []
    for tenth in range(100):
        session, commands = poll(session, [], tenth * S // 10)
        beats += [tenth / 10 for c in commands if c == SayHeartbeat()]

    assert beats == [0, 2, 4, 6, 8]


def test_news_bring_the_next_heartbeat_forward_but_not_without_end() -> None:
    session = up()
    beats = 0
    for millisecond in range(0, 1000, 10):
        session = nudged(session, millisecond * S // 1000)
        session, commands = poll(session, [], millisecond * S // 1000)
        beats += commands.count(SayHeartbeat())

    assert beats == 4


def test_an_entry_is_sent_again_with_back_off_until_it_is_acknowledged() -> None:
    session, entry = up(), Entry(7, 100)
    sent = []
    for second in range(200):
        session, commands = poll(session, [entry], second * S)
        sent += [second for c in commands if c == SendEntry(7)]

    assert sent == [0, 5, 15, *range(35, 200, 20)]
    assert not acknowledged(session, [7]).flights


def test_a_cloud_that_answers_nothing_is_silent_since_the_first_sending() -> None:
    session = up()
    assert unanswered_ns(session, 5 * S) == 0
    for second in range(5, 60):
        session, _ = poll(session, [Entry(1, 1), Entry(2, 1)], second * S)

    assert unanswered_ns(session, 60 * S) == 55 * S
    session = heard(acknowledged(session, [1]), 60 * S)
    assert unanswered_ns(session, 62 * S) == 2 * S
    assert unanswered_ns(heard(acknowledged(session, [2]), 62 * S), 70 * S) == 0


def test_an_entry_that_waits_for_its_turn_is_not_unanswered() -> None:
    session = welcomed(connected(Session(), 0), welcome(6.0, mb_per_s=0.001), 0)
    session, commands = poll(session, [Entry(1, 9_000), Entry(2, 9_000)], S)
    assert commands.count(SendEntry(2)) == 0

    session = heard(acknowledged(session, [1]), 2 * S)

    assert unanswered_ns(session, 9 * S) == 0


def test_a_welcome_makes_everything_due_at_once() -> None:
    session, _ = poll(up(), [Entry(1, 1), Entry(2, 1)], 0)
    session = welcomed(hello_asked(session, S), welcome(6.0), S)

    assert poll(session, [Entry(1, 1), Entry(2, 1)], S)[1] == (
        SayHeartbeat(),
        SendEntry(1),
        SendEntry(2),
    )


def test_a_cloud_that_forgot_us_is_greeted_again() -> None:
    session = hello_asked(up(), S)

    assert session.state is LinkState.GREETING
    assert poll(session, [Entry(1, 1)], S)[1] == (SayHello(),)


def test_what_comes_after_the_connection_is_lost_changes_nothing() -> None:
    down = disconnected(up())

    assert hello_asked(down, S) == down
    assert welcomed(down, welcome(6.0), S) == down


def test_a_lease_of_nothing_does_not_flood_the_cloud() -> None:
    assert up(lease_s=0).beat_ns >= S // 10


@given(lease_s=st.floats(), messages_per_s=st.floats(), mb_per_s=st.floats())
def test_no_welcome_however_odd_stops_a_vehicle_from_speaking(
    lease_s: float, messages_per_s: float, mb_per_s: float
) -> None:
    told = welcome(lease_s, messages_per_s, mb_per_s)
    session = welcomed(connected(Session(), 0), told, 0)
    sent: list[int] = []
    now_ns = 0
    while now_ns < 100 * S:
        session, commands = poll(session, [Entry(1, 10), Entry(2, 10**7)], now_ns)
        sent += [c.seq for c in commands if isinstance(c, SendEntry)]
        now_ns = max(now_ns + S // 10, min(wake_ns(session) or 0, now_ns + 10 * S))

    assert {1, 2} <= set(sent)


@given(st.data())
def test_at_most_the_deliverable_entries_are_in_flight(data: st.DataObject) -> None:
    session, now_ns = up(), 0
    for _ in range(data.draw(st.integers(1, 20))):
        now_ns += data.draw(st.integers(0, 10 * S))
        seqs = data.draw(st.lists(st.integers(1, 9), unique=True, max_size=4).map(sorted))
        session, commands = poll(session, [Entry(s, 1) for s in seqs], now_ns)
        sent = [c.seq for c in commands if isinstance(c, SendEntry)]
        assert sent == sorted(sent)
        assert set(sent) <= set(seqs)
        assert set(session.flights) == set(seqs)
        woken = wake_ns(session)
        assert woken is not None
        assert woken > now_ns
        session = acknowledged(session, data.draw(st.lists(st.integers(1, 9), max_size=2)))


@given(
    sizes=st.lists(st.integers(1, 2_000_000), min_size=1, max_size=200),
    messages_per_s=st.floats(1, 1000),
    mb_per_s=st.floats(0.5, 100),
)
def test_who_was_away_for_days_sends_all_it_owes_below_the_clouds_rate(
    sizes: list[int], messages_per_s: float, mb_per_s: float
) -> None:
    session = welcomed(connected(Session(), 0), welcome(6.0, messages_per_s, mb_per_s), 0)
    owed = [Entry(seq, size) for seq, size in enumerate(sizes, 1)]
    now_ns, sent, sent_bytes = 0, 0, 0
    while owed:
        session, commands = poll(session, owed[:32], now_ns)
        gone = [c.seq for c in commands if isinstance(c, SendEntry)]
        sent += len(gone)
        sent_bytes += sum(sizes[seq - 1] for seq in gone)
        prepaid_s = 1 + now_ns / S
        assert sent - len(gone) <= messages_per_s * prepaid_s
        assert sent_bytes <= mb_per_s * 1e6 * prepaid_s + 2_000_000
        session = acknowledged(session, gone)
        owed = [entry for entry in owed if entry.seq not in gone]
        now_ns = max(now_ns + 1, wake_ns(session) or 0)

    least_s = max(len(sizes) / messages_per_s, sum(sizes) / (mb_per_s * 1e6))
    assert now_ns / S <= 3 * least_s + 8
