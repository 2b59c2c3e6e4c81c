"""What the cloud measures, as metrics; systemd/METRICS.md lists the names."""

import os
from collections.abc import Iterator, Mapping

import msgspec

from user_lib.wire.metrics import Sample, process_samples, prometheus_text

__all__ = ["Snapshot", "render"]


class Snapshot(msgspec.Struct, frozen=True):
    """What the loop knows at one moment."""

    messages: Mapping[str, int] = {}
    complaints: Mapping[str, int] = {}
    refusals: Mapping[str, int] = {}
    vehicles_online: int = 0
    vehicles_known: int = 0
    newcomers: int = 0
    """Connections that have said nothing yet; the others are ``connections``."""
    connections: int = 0
    assignments: int = 0
    """Those that run or are scheduled."""
    requests_waiting: int = 0
    offboard_queued: int = 0
    ledger_bytes: int = 0
    contents: Mapping[str, float] = {}
    """Bytes received and sent in chunks, and contents that came damaged."""
    content_pulls: int = 0
    content_waiting: int = 0
    """Vehicles that wait to be served."""
    turns: int = 0
    busy_s: float = 0.0


def render(snapshot: Snapshot) -> bytes:
    """Return everything as Prometheus text."""
    return prometheus_text([*_samples(snapshot), *process_samples([("cloud", os.getpid())])])


def _samples(now: Snapshot) -> Iterator[Sample]:
    for what, count in sorted(now.messages.items()):
        said = "Messages at the router by their fate"
        yield Sample("oodida_cloud_messages_total", count, said, {"fate": what}, "counter")
    for kind, count in sorted(now.complaints.items()):
        said = "What peers or parts did wrong, by kind"
        yield Sample("oodida_cloud_complaints_total", count, said, {"kind": kind}, "counter")
    for reason, count in sorted(now.refusals.items()):
        said = "Connections and requests that were refused, by reason"
        yield Sample("oodida_cloud_refused_total", count, said, {"reason": reason}, "counter")
    offline = now.vehicles_known - now.vehicles_online
    silent = "Connections: those that have said nothing yet, and the others"
    for name, said, state, count in (
        ("vehicles", "Vehicles by their link", "online", now.vehicles_online),
        ("vehicles", "Vehicles by their link", "offline", offline),
        ("connections", silent, "newcomer", now.newcomers),
        ("connections", silent, "known", now.connections),
    ):
        yield Sample(f"oodida_cloud_{name}", count, said, {"state": state})
    gauges = (
        ("assignments_live", now.assignments, "Assignments that run or are scheduled"),
        ("requests_waiting", now.requests_waiting, "Requests of analysts that wait for news"),
        ("offboard_queued", now.offboard_queued, "Rounds that wait for an off-board worker"),
        ("content_pulls", now.content_pulls, "Contents of results that are being pulled"),
        ("content_waiting", now.content_waiting, "Vehicles that wait for a chunk of a content"),
        ("ledger_bytes", now.ledger_bytes, "Size of the ledger, its journal included"),
    )
    for name, value, said in gauges:
        yield Sample(f"oodida_cloud_{name}", value, said)
    for name, total in now.contents.items():
        said = "Contents: bytes received and sent in chunks, and how many came damaged"
        yield Sample(f"oodida_cloud_content_{name}_total", total, said, {}, "counter")
    counters = (
        ("turns_total", now.turns, "Turns of the loop"),
        ("busy_seconds_total", now.busy_s, "Time that the loop did not wait"),
    )
    for name, total, said in counters:
        yield Sample(f"oodida_cloud_{name}", total, said, {}, "counter")
