"""The vehicle's session with the cloud, pure: what to say, when to say it again.

::

    DOWN ──connected──▶ GREETING ──Welcome──▶ UP ──SendHello──▶ GREETING
    any ──disconnected──▶ DOWN

    GREETING says Hello, again and again with back-off.
    UP says Heartbeat every third of the lease, and sends the outbox within its credit.

Rules. Hello is the first message of a connection. An entry of the outbox is sent once it may be
(`agent.store.Store.deliverable` is the credit) and again, with back-off, until an Ack names it; a
new Welcome makes all of them due at once. Whatever is lost on the way heals by repetition.

Welcome also tells how much the cloud takes of a vehicle. What is sent is paid for in time, at most
`SHARE` of that rate: who was away for days sends what it owes evenly, and is never turned away.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from agent.store import Entry
from user_lib.contract.clock import MS, SECOND
from user_lib.contract.messages import Welcome

__all__ = [
    "Command",
    "LinkState",
    "SayHeartbeat",
    "SayHello",
    "SendEntry",
    "Session",
    "acknowledged",
    "connected",
    "disconnected",
    "heard",
    "hello_asked",
    "nudged",
    "poll",
    "unanswered_ns",
    "wake_ns",
    "welcomed",
]

HELLO_AGAIN_NS = 1 * SECOND
HELLO_AGAIN_MAX_NS = 10 * SECOND
SEND_AGAIN_NS = 5 * SECOND
SEND_AGAIN_MAX_NS = 20 * SECOND
NUDGE_NS = 200 * MS
SHARE = 0.8
"""Of the rate that the cloud told, for entries: the rest is for everything else."""
PREPAID_NS = 1 * SECOND
"""So much time's worth may leave at once."""
LONGEST_ENTRY_NS = 10 * SECOND
"""However slow the rate that a cloud tells: slower, repeats would hold up all that is new."""
BEATS_PER_LEASE = 3
LONGEST_LEASE_S = 3600.0
SHORTEST_LEASE_NS = 300 * MS


class LinkState(StrEnum):
    """How far the link is."""

    DOWN = "down"
    GREETING = "greeting"
    UP = "up"


class Flight(msgspec.Struct, frozen=True):
    """An entry that was sent: when to send it again, how often it was, and when first."""

    due_ns: int
    tries: int
    sent_ns: int = 0


class Pace(msgspec.Struct, frozen=True):
    """How long an entry takes at the rate that the cloud told: the longer of the two."""

    entry_ns: float = 0.0
    byte_ns: float = 0.0

    def of(self, entry: Entry) -> int:
        """Return what sending an entry costs, in ns."""
        return int(min(max(self.entry_ns, entry.size * self.byte_ns), LONGEST_ENTRY_NS))


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Where the link stands; times are monotonic ns."""

    state: LinkState = LinkState.DOWN
    hello_due_ns: int = 0
    hellos: int = 0
    beat_ns: int = 0
    """Time from one heartbeat to the next."""
    beat_due_ns: int = 0
    last_beat_ns: int = 0
    flights: Mapping[int, Flight] = {}
    heard_ns: int = 0
    """When the cloud last said something of the outbox."""
    pace: Pace = Pace()
    paid_ns: int = 0
    """When all that was sent so far is paid for."""


class SayHello(msgspec.Struct, frozen=True):
    """Send a Hello."""


class SayHeartbeat(msgspec.Struct, frozen=True):
    """Send a Heartbeat."""


class SendEntry(msgspec.Struct, frozen=True):
    """Send this entry of the outbox."""

    seq: int


Command: TypeAlias = SayHello | SayHeartbeat | SendEntry


def connected(session: Session, now_ns: int) -> Session:
    """Begin a connection: greet at once."""
    del session
    return Session(state=LinkState.GREETING, hello_due_ns=now_ns)


def disconnected(session: Session) -> Session:
    """Forget the connection; what was under way is sent again on the next."""
    del session
    return Session()


def hello_asked(session: Session, now_ns: int) -> Session:
    """Greet again: the cloud does not know this connection."""
    if session.state is LinkState.DOWN:
        return session
    return replace(session, state=LinkState.GREETING, hello_due_ns=now_ns, hellos=0)


def welcomed(session: Session, welcome: Welcome, now_ns: int) -> Session:
    """Take up the lease and the pace; everything is due."""
    if session.state is LinkState.DOWN:
        return session
    believable = 0 <= welcome.lease_s <= LONGEST_LEASE_S
    lease_s = welcome.lease_s if believable else LONGEST_LEASE_S
    beat_ns = max(int(lease_s * SECOND), SHORTEST_LEASE_NS) // BEATS_PER_LEASE
    pace = Pace(
        SECOND / (welcome.messages_per_s * SHARE) if welcome.messages_per_s > 0 else 0.0,
        SECOND / (welcome.mb_per_s * 1e6 * SHARE) if welcome.mb_per_s > 0 else 0.0,
    )
    return Session(
        state=LinkState.UP,
        beat_ns=beat_ns,
        beat_due_ns=now_ns,
        pace=pace,
        paid_ns=session.paid_ns,
    )


def acknowledged(session: Session, seqs: Sequence[int]) -> Session:
    """Stop sending these entries."""
    gone = frozenset(seqs)
    flights = {seq: f for seq, f in session.flights.items() if seq not in gone}
    return replace(session, flights=flights)


def heard(session: Session, now_ns: int) -> Session:
    """The cloud has acknowledged an entry, or asked for more of one."""
    return replace(session, heard_ns=now_ns)


def unanswered_ns(session: Session, now_ns: int) -> int:
    """Return for how long the cloud has said nothing of entries that were sent; 0 without any."""
    sent = [flight.sent_ns for flight in session.flights.values() if flight.tries]
    return now_ns - max(min(sent), session.heard_ns) if sent else 0


def nudged(session: Session, now_ns: int) -> Session:
    """Let the next heartbeat come soon, since there is news in it; not more often than that."""
    soon = max(now_ns, session.last_beat_ns + NUDGE_NS)
    return replace(session, beat_due_ns=min(session.beat_due_ns, soon))


def poll(
    session: Session, deliverable: Sequence[Entry], now_ns: int
) -> tuple[Session, tuple[Command, ...]]:
    """Return what is due now, and the session as if it had been sent."""
    if session.state is LinkState.GREETING and now_ns >= session.hello_due_ns:
        wait_ns = min(HELLO_AGAIN_NS << min(session.hellos, 10), HELLO_AGAIN_MAX_NS)
        greeted = replace(session, hello_due_ns=now_ns + wait_ns, hellos=session.hellos + 1)
        return greeted, (SayHello(),)
    if session.state is not LinkState.UP:
        return session, ()
    commands: list[Command] = []
    if now_ns >= session.beat_due_ns:
        commands.append(SayHeartbeat())
        session = replace(session, beat_due_ns=now_ns + session.beat_ns, last_beat_ns=now_ns)
    flights: dict[int, Flight] = {}
    paid_ns = max(session.paid_ns, now_ns)
    for entry in deliverable:
        flight = session.flights.get(entry.seq, Flight(now_ns, 0))
        if now_ns >= flight.due_ns:
            if paid_ns - now_ns > PREPAID_NS:
                flight = replace(flight, due_ns=paid_ns - PREPAID_NS)
            else:
                commands.append(SendEntry(entry.seq))
                paid_ns += session.pace.of(entry)
                wait_ns = min(SEND_AGAIN_NS << min(flight.tries, 10), SEND_AGAIN_MAX_NS)
                sent_ns = flight.sent_ns if flight.tries else now_ns
                flight = Flight(now_ns + wait_ns, flight.tries + 1, sent_ns)
        flights[entry.seq] = flight
    return replace(session, flights=flights, paid_ns=paid_ns), tuple(commands)


def wake_ns(session: Session) -> int | None:
    """Return when `poll` has something to say next, if nothing happens until then."""
    match session.state:
        case LinkState.DOWN:
            return None
        case LinkState.GREETING:
            return session.hello_due_ns
        case LinkState.UP:
            return min([session.beat_due_ns, *(f.due_ns for f in session.flights.values())])
