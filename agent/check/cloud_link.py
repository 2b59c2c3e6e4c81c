"""The way to the cloud, and what the owner allows."""

import time
from pathlib import Path

import zmq

from agent.check.finding import Finding
from agent.config import AgentConfig
from agent.link.dealer import Change, Dealer
from user_lib.contract.clock import SystemClock
from user_lib.contract.errors import ConfigError
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import read_link_keys
from user_lib.wire.socket import is_loopback

__all__ = ["keys", "reachability"]

PATIENCE_S = 5.0


def keys(config: AgentConfig) -> Finding:
    """Read the vehicle's keys, the cloud's card and those of the analysts whom the owner trusts."""
    if config.keys is None:
        return Finding(
            "keys", "warn", "none: anyone on this machine could be the cloud or an analyst",
            "`oodida keys create`, then keys: in the configuration instead of insecure: true",
        )  # fmt: skip
    try:
        link = read_link_keys(Path(config.keys.own), Path(config.keys.cloud), "vehicle")
        ring = Keyring(Path(config.keys.analysts), "analyst")
    except ConfigError as error:
        return Finding("keys", "fail", str(error), "correct keys: in the configuration")
    own = f"this vehicle is {link.own.card.name}"
    if ring.unreadable:
        files = ", ".join(str(path) for path in ring.unreadable)
        return Finding(
            "keys", "fail", f"{own}; {files}: no card, or cannot be read",
            "put it right or remove it: tasks and results of whose card it may be are held",
        )  # fmt: skip
    analysts = sorted({card.name for card in ring.cards})
    if not analysts:
        return Finding(
            "keys", "warn", f"{own}; it trusts no analyst, so it runs nothing",
            f"`oodida keys enrol CARD --into {config.keys.analysts}`",
        )  # fmt: skip
    return Finding("keys", "ok", f"{own}; it trusts {', '.join(analysts)}")


def reachability(config: AgentConfig) -> Finding:
    """Connect to the cloud as the agent does, without saying hello."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        own = None
        if config.keys is not None:
            own = read_link_keys(Path(config.keys.own), Path(config.keys.cloud), "vehicle")
        dealer = Dealer(context, config.cloud, own, SystemClock())
        try:
            change, took_s = _first_change(dealer)
        finally:
            dealer.close()
    except ConfigError as error:
        return Finding("cloud", "fail", str(error), "correct cloud: in the configuration")
    finally:
        context.term()
    if change is Change.CONNECTED:
        return Finding("cloud", "ok", f"{config.cloud} answered in {took_s * 1000:.0f} ms")
    if change is Change.REFUSED:
        return Finding(
            "cloud", "fail", f"{config.cloud} refuses this vehicle",
            "enrol its key at the cloud, and give it the cloud's",
        )  # fmt: skip
    where = (
        "is oodida-cloud running there?"
        if is_loopback(config.cloud)
        else ("is that its address, does a firewall or the modem stand in between?")
    )
    return Finding("cloud", "fail", f"{config.cloud} does not answer in {PATIENCE_S:g} s", where)


def _first_change(dealer: Dealer) -> tuple[Change | None, float]:
    poller = zmq.Poller()
    dealer.register(poller)
    began = time.monotonic()
    while (passed := time.monotonic() - began) < PATIENCE_S:
        for heard in dealer.receive():
            if heard in (Change.CONNECTED, Change.REFUSED):
                return Change(heard), time.monotonic() - began
        poller.poll(round(max(1.0, min(100.0, (PATIENCE_S - passed) * 1000))))
    return None, PATIENCE_S
