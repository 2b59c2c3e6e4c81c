"""Builds the agent from its configuration: the only place where the parts meet."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import zmq

import hw
from agent.config import AgentConfig, taken_over
from agent.contents import Contents
from agent.gathering import Gathering
from agent.inbox import Inbox
from agent.link.dealer import Dealer
from agent.loop import About, MainLoop
from agent.orders import Orders, Rules
from agent.policy import Allowance, idle_patterns
from agent.sandbox import Sandbox, SandboxConfig, output_bytes
from agent.signals.hub import SignalHub
from agent.signals.profile import Profile, load_profile
from agent.store import Store
from agent.supervision import Supervision
from agent.tasks.live import Surroundings
from agent.tasks.modules import Modules
from agent.tasks.ports import News, Signals
from agent.tasks.receipt import Identity, SizeCap
from agent.tasks.table import Table
from agent.tasks.task import Now
from agent.tasks.workers import Workers
from agent.telemetry import OldestEntry, Outcomes, Snapshot, Telemetry
from agent.trust import Trust
from agent.wall import Wall
from hw import Source
from user_lib.contract.clock import Clock, SystemClock
from user_lib.contract.errors import ConfigError, OodidaError
from user_lib.contract.messages import Catalog, Hello
from user_lib.wire.audit_log import AuditLog
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import LinkKeys, read_link_keys
from user_lib.wire.metrics import MetricsServer
from user_lib.wire.notify import Notifier
from user_lib.wire.version import installed_version

__all__ = ["Agent", "open_sources", "profile_of"]

log = logging.getLogger(__name__)

STOP_S = 1.0
"""How long the worker slots may take to end."""


def profile_of(config: AgentConfig) -> Profile:
    """Return the profile that the configuration names.

    Raises: ConfigError.
    """
    profile = load_profile(config.profile, [Path(d) for d in config.profile_dirs])
    return profile.heard_by(config.sources)


def open_sources(config: AgentConfig, profile: Profile, clock: Clock) -> list[Source]:
    """Open where the frames come from: the configuration's own sources, else the profile's.

    Raises: ConfigError, without any; SourceError, when one cannot be opened.
    """
    wanted = config.sources or profile.sources
    if not wanted:
        raise ConfigError(
            f"sources: profile {profile.name} has none; give some, such as "
            "[{kind: can, interface: socketcan, channel: can0}]"
        )
    return hw.open_sources(wanted, clock=clock)


def size_cap(config: AgentConfig) -> SizeCap:
    """Return how large a result may be: more than half of the outbox could never be sent."""
    return SizeCap(int(min(config.contents.largest_mb, config.outbox_mb / 2) * 1e6))


class Agent:
    """One vehicle's agent: built, run until stopped, closed.

    Raises: ConfigError, DatabaseError, SourceError, SandboxUnavailable: what keeps it from running.
    """

    def __init__(
        self,
        config: AgentConfig,
        clock: Clock | None = None,
        reread: Callable[[], AgentConfig] | None = None,
    ) -> None:
        """``reread`` reads the configuration again for `reload`, which changes nothing without."""
        self._config, self._reread = config, reread
        self._reload_asked = False
        self._clock = clock or SystemClock()
        self._wall = Wall(config.trust_clock, self._clock)
        with contextlib.ExitStack() as building:
            self._loop, self._orders = self._build(config, building.callback)
            self._closing = building.pop_all()

    def run(self) -> None:
        """Work until `stop`."""
        trusted = self._wall.trusted
        self._orders.resume(Now(self._clock.monotonic_ns(), self._clock.unix_ns(), trusted))
        self._loop.run()

    def stop(self) -> None:
        """Let `run` return; safe in a signal handler."""
        self._supervision.stopping()
        self._loop.stop()

    def reload(self) -> None:
        """Read databases and policy again, soon; safe in a signal handler. Tasks go on."""
        self._reload_asked = True

    def close(self) -> None:
        """End threads and workers, and let files and sockets go."""
        self._closing.close()

    def _build(
        self, config: AgentConfig, on_close: Callable[..., object]
    ) -> tuple[MainLoop, Orders]:
        profile = _cached_profile(config)
        keys = _link_keys(config)
        state = Path(config.state_dir)
        store = Store(state, outbox_mb=config.outbox_mb)
        on_close(store.close)
        audit_mb, known = config.audit_mb, store.audit_mark
        store.note_in(AuditLog(state / "audit", self._clock, limit_mb=audit_mb, known=known))
        inbox: Inbox[News] = Inbox()
        on_close(inbox.close)
        hub = SignalHub(
            profile,
            open_sources(config, profile, self._clock),
            history_mb=config.history_mb,
            tick_ms=config.tick_ms,
            clock=self._clock,
        )
        on_close(hub.close)
        hub.start()  # frames are kept from here on, while the sandbox comes up
        sandbox = Sandbox(
            SandboxConfig(
                external=config.external_methods,
                level=config.policy.sandbox,
                socket=config.sandbox_socket,
                output_bytes=output_bytes(size_cap(config).own_bytes),
            )
        )
        sandbox.start()
        if sandbox.problem:
            log.error("custom code is refused: the sandbox is not confined: %s", sandbox.problem)
        outcomes = Outcomes(sandbox.run)
        workers = Workers(outcomes.run, config.slots, inbox.post)
        on_close(workers.close, STOP_S)
        on_close(sandbox.close)  # first of these: it ends the jobs that the workers wait for

        identity = Identity(
            config.vehicle_id,
            store.epoch,
            installed_version(),
            hub.catalog_hash,
            None if keys is None else keys.own.sign,
            size_cap(config),
        )
        contents = Contents(store, int(config.contents.store_mb * 1e6))
        signals = Gathering(hub)
        modules = Modules(store.slots)
        external = frozenset(config.external_methods)
        trust = _trust(config, self._clock, self._wall)
        allowance = Allowance(config.policy, store.account, trust.fingerprints)
        around = Surroundings(identity, store, signals, workers, allowance, inbox.post, contents)
        rules = Rules(config.policy, external, signals, trust, identity.cap, sandbox.problem)
        orders = Orders(identity, rules, store, Table(around, modules), modules)
        self._hub, self._rules, self._identity = hub, rules, identity

        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        on_close(context.term)
        dealer = Dealer(context, config.cloud, keys, self._clock)
        on_close(dealer.close)

        def stats() -> dict[str, float]:
            policy = {f"policy.{word}": float(n) for word, n in allowance.counts.items()}
            slots = {"slots.busy": workers.busy, "slots.total": workers.slots}
            clock = {"clock.trusted": float(self._wall.trusted)}
            return {**hub.stats(), **slots, **policy, **clock}

        self._supervision = Supervision(
            Notifier(), lambda: hub.slowest, f"{config.vehicle_id}, profile {profile.name}"
        )
        about = About(
            hello=_hello(config, profile, identity, sandbox.problem),
            catalog=Catalog(dbc_hash=hub.catalog_hash, signals=hub.signals()),
            stats=stats,
            contents=contents,
            cap=identity.cap,
            turned=self._turned,
            clock_trusted=lambda: self._wall.trusted,
            signer=identity.signer,
        )
        _warn_of_idle(config, hub, signals)
        log.info("vehicle %s, profile %s, cloud %s", config.vehicle_id, profile.name, config.cloud)
        loop = MainLoop(dealer, store, orders, about, inbox, self._clock)
        self._telemetry = Telemetry(outcomes, lambda: sandbox.zygote_pid)
        self._oldest = OldestEntry(store)
        if config.metrics_socket:
            server = MetricsServer(config.metrics_socket, self._telemetry.render)
            on_close(server.close)
        return loop, orders

    def _turned(self, now_ns: int) -> None:
        """Tell the service manager and the metrics that the main loop has made a turn."""
        if self._reload_asked and self._reread is not None:
            self._reload_asked = False
            self._supervision.reloading(now_ns)
            try:
                self._take_over(self._reread())
            except OodidaError as error:
                log.error("not reloaded, everything stays as it was: %s", error)
                now = Now(now_ns, self._clock.unix_ns())
                self._orders.note("rules_kept", f"not reloaded: {error}", now)
        self._supervision.turned(now_ns)
        self._telemetry.turned(now_ns, self._snapshot)

    def _take_over(self, wanted: AgentConfig) -> None:
        """Go on by another configuration, as far as that needs no restart.

        Raises: ConfigError, DatabaseError; then nothing has changed.
        """
        config, late = taken_over(self._config, wanted)
        profile = _cached_profile(config)
        others = self._hub.reload(profile)
        self._config = config
        self._rules = replace(self._rules, policy=config.policy)
        self._identity = replace(self._identity, dbc_hash=self._hub.catalog_hash)
        now = Now(self._clock.monotonic_ns(), self._clock.unix_ns())
        self._orders.renew(self._rules, self._identity.dbc_hash, now)
        self._loop.renew(
            _hello(config, profile, self._identity, self._rules.barred),
            Catalog(dbc_hash=self._hub.catalog_hash, signals=self._hub.signals()),
        )
        _warn_of_idle(config, self._hub, self._rules.signals)
        logging.getLogger().setLevel(config.log_level.upper())
        log.info("reloaded: %s", "other databases" if others else "the same databases")
        if late:
            log.warning("a restart is needed for the change of %s", ", ".join(late))

    def _snapshot(self) -> Snapshot:
        loop = self._loop
        age_s = self._oldest.age_s(self._clock.unix_ns())
        return Snapshot(loop.stats(), self._orders.table.states(), loop.link_state, age_s)


def _warn_of_idle(config: AgentConfig, hub: SignalHub, signals: Signals) -> None:
    """Tell the owner of rules that forbid nothing, perhaps for a letter that is wrong."""
    names = [info.name for info in hub.signals()]
    for words in idle_patterns(config.policy, names, signals.aliases):
        log.warning("policy: %s", words)


def _cached_profile(config: AgentConfig) -> Profile:
    """Return the profile, with a place where its databases are kept as they were read."""
    return replace(profile_of(config), cache=Path(config.state_dir) / "databases")


def _link_keys(config: AgentConfig) -> LinkKeys | None:
    """Read the link's keys, or say loudly that there are none.

    Raises: ConfigError.
    """
    if config.keys is None:
        log.warning("INSECURE: no keys; whoever listens at %s is taken for the cloud", config.cloud)
        return None
    return read_link_keys(Path(config.keys.own), Path(config.keys.cloud), "vehicle")


def _trust(config: AgentConfig, clock: Clock, wall: Wall) -> Trust:
    """Read whom the owner trusts. Raises: ConfigError."""
    if config.keys is None:
        return Trust(config.vehicle_id, None, lambda: wall.now_ns)
    analysts = Keyring(Path(config.keys.analysts), "analyst", clock=clock)
    return Trust(config.vehicle_id, analysts, lambda: wall.now_ns)


def _hello(config: AgentConfig, profile: Profile, identity: Identity, problem: str) -> Hello:
    return Hello(
        vehicle_id=config.vehicle_id,
        epoch=identity.epoch,
        agent_version=identity.agent_version,
        model=profile.model,
        profile=profile.name,
        tags={**profile.tags, **config.tags},
        dbc_hash=identity.dbc_hash,
        external_methods=tuple(sorted(config.external_methods)),
        accepts_custom=config.policy.accepts_custom and not problem,
        sandbox="unconfined" if problem else config.policy.sandbox,
    )
