"""The last two links of the chain: does what a vehicle computed reach the cloud, and is it kept?

A vehicle sends an entry of its outbox again and again until the cloud acknowledges it, which the
cloud does once it is on disk. It tells for how long nobody has answered (``outbox.unanswered_s``);
the cloud tells when an entry last came, new or repeated, and why it cannot keep any.
"""

from user_lib.contract.clock import SECOND
from user_lib.contract.messages import VehicleInfo
from user_lib.doctor.diagnosis import Link

__all__ = ["acknowledged", "sent"]

UNANSWERED_S = 15.0
"""By then an entry was sent three times."""


def sent(vehicle: VehicleInfo | None, *, came: bool, lost: str = "", kept: bool = False) -> Link:
    """Say whether results leave the vehicle and reach the cloud.

    ``came``: some did; ``lost`` says in words how many it had to drop, ``kept`` whether some of
    these since its owner does not let them leave.
    """
    if kept:
        return Link(
            "sent", "no", lost,
            "ask the owner of the vehicle: what a rule keeps there does not come any more",
        )  # fmt: skip
    waiting = vehicle.outbox if vehicle is not None else 0
    lost = f"; {lost}" if lost else ""
    if vehicle is None or not waiting:
        return Link("sent", "yes" if came else "unknown", f"its outbox is empty{lost}")
    found = f"{waiting} results of all jobs wait in its outbox{lost}"
    if not vehicle.online:
        return Link("sent", "no", found, "they are sent when it is online again; none is lost")
    if _unanswered_s(vehicle) and not _arrives(vehicle):
        return Link(
            "sent", "no",
            f"{found}, sent again and again for {_unanswered_s(vehicle):.0f} s; none reaches the "
            "cloud, though its heartbeats do",
            "find what between them lets only small messages pass: the MTU of a tunnel or modem "
            "(on the vehicle: ping -M do -s 1400 CLOUD), a firewall or proxy; nothing is lost, all "
            "of it is sent again",
        )  # fmt: skip
    return Link("sent", "yes", found)


def acknowledged(vehicle: VehicleInfo | None, unkept: str, results: int | None) -> Link:
    """Say whether the cloud keeps what arrives, and the vehicle hears of it.

    ``unkept`` is why the cloud cannot keep anything; ``results`` is how many of the job it has,
    None where it is not about a job.
    """
    shown = "" if results is None else _shown(results)
    if unkept:
        return Link(
            "acknowledged", "no", f"the cloud cannot keep what arrives: {unkept}",
            "its operator makes room on the disk of the ledger (the cloud's log names it); nothing "
            "is lost: vehicles keep results until they are acknowledged, and send them again",
        )  # fmt: skip
    if vehicle is not None and vehicle.online and _unanswered_s(vehicle) and _arrives(vehicle):
        words = f"; {shown}" if shown else ""
        return Link(
            "acknowledged", "no",
            "results reach the cloud, and the vehicle has not heard of that for "
            f"{_unanswered_s(vehicle):.0f} s{words}",
            "what the cloud sends does not arrive, or its disk is slow: look for a firewall or "
            "proxy that keeps it back; results are neither lost nor counted twice",
        )  # fmt: skip
    return Link("acknowledged", "unknown" if results == 0 else "yes", shown)


def _shown(results: int) -> str:
    return f"{results} results in the ledger" if results else "no result in the ledger"


def _unanswered_s(vehicle: VehicleInfo) -> float:
    """How long the cloud has answered nothing of the outbox; 0 where that is no wonder yet."""
    unanswered_s = vehicle.stats.get("outbox.unanswered_s", 0.0) if vehicle.outbox else 0.0
    return unanswered_s if unanswered_s >= UNANSWERED_S else 0.0


def _arrives(vehicle: VehicleInfo) -> bool:
    """Whether an entry came to the cloud in the time in which the vehicle got no answer."""
    return vehicle.delivered_ns > vehicle.last_seen_ns - int(_unanswered_s(vehicle) * SECOND)
