"""The sandbox as the agent, the cloud and an analyst use it: a job in, an outcome out."""

import logging
import os
import threading
from collections import deque
from types import TracebackType

from agent.sandbox import admission, envelope, external, verdict
from agent.sandbox.config import SandboxConfig
from agent.sandbox.job import Job, Outcome, refused
from agent.sandbox.lockdown import probe
from agent.sandbox.lockdown.confinement import Confinement, Unconfined
from agent.sandbox.lockdown.probe import Layer
from agent.sandbox.watch import Observed, Terms, Watch
from agent.sandbox.zygote_process import SandboxUnavailable, ZygoteProcess

__all__ = ["Sandbox"]

log = logging.getLogger(__name__)

ATTEMPTS = 3


class Sandbox:
    """Runs jobs, each in a process of its own; `run` may be called from many threads at once."""

    def __init__(self, config: SandboxConfig | None = None) -> None:
        self.config = config or SandboxConfig()
        self._lock = threading.Lock()
        self._zygote: ZygoteProcess | None = None
        self._watches: set[Watch] = set()
        self._spares: deque[Watch] = deque()
        self._problem = ""
        self._closed = False
        self._starts = 0

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def restarts(self) -> int:
        """How often the zygote had to be started again."""
        return max(0, self._starts - 1)

    @property
    def problem(self) -> str:
        """What keeps this machine from the configured level; custom code is refused with it."""
        return self._problem

    @property
    def bounded(self) -> tuple[str, ...]:
        """The cgroup controllers that bound each worker; empty where none is delegated."""
        zygote = self._zygote
        return zygote.bounded if zygote else ()

    @property
    def unbounded(self) -> str:
        """Why workers get no cgroup of their own; empty when they do."""
        zygote = self._zygote
        return zygote.unbounded if zygote else ""

    @property
    def running(self) -> int:
        """How many jobs have a worker now."""
        with self._lock:
            return sum(watch.started for watch in self._watches)

    @property
    def zygote_pid(self) -> int | None:
        """The zygote's process id, while there is one."""
        zygote = self._zygote
        return zygote.pid if zygote else None

    def check(self) -> tuple[Layer, ...]:
        """Try every layer of the lock-down on this machine; see `agent.sandbox.lockdown.probe`.

        Raises: OSError or subprocess.SubprocessError, when not even the probe can be run.
        """
        return probe.check(self.config.python)

    def start(self) -> None:
        """Start the zygote now rather than with the first job.

        Raises: SandboxUnavailable.
        """
        self._current()

    def run(self, job: Job) -> Outcome:
        """Run one job to its end; blocks. What a job does, however bad, is in the outcome."""
        try:
            unfit = admission.unfit(job)
        except TypeError as error:
            return refused("params", f"the limits are out of range: {error}")
        if unfit is not None:
            return unfit
        name = external.name_of(job.method)
        if name is not None and name not in self.config.external:
            known = ", ".join(self.config.external) or "none"
            return refused("sandbox", f"no external worker {name!r}; there is {known}")
        argv = self.config.external[name] if name is not None else ()
        try:
            return self._run(job, argv)
        except (SandboxUnavailable, OSError) as error:
            return refused("sandbox", str(error))
        except (TypeError, ValueError) as error:
            return refused("params", f"the job cannot be sent: {error}")

    def _run(self, job: Job, argv: tuple[str, ...]) -> Outcome:
        for _ in range(ATTEMPTS):
            zygote = self._current()
            if self._problem and (argv or job.method == "custom"):
                return refused("sandbox", self._problem)
            seen = self._attempt(zygote, job, argv)
            if seen.not_made:
                return refused("sandbox", f"no worker could be made: {seen.not_made}")
            if seen.used is None:
                self._discard(zygote)
            if seen.started or seen.used is not None:
                return verdict.judge(seen, job.limits, external=bool(argv))
        return refused("sandbox", "the sandbox's zygote ended at every attempt to start")

    def close(self) -> None:
        """End the zygote and everything that runs in it; jobs under way are told as crashed."""
        with self._lock:
            self._closed = True
            zygote, self._zygote = self._zygote, None
            self._drop_spares()
        if zygote is not None:
            zygote.end()

    def _attempt(self, zygote: ZygoteProcess, job: Job, argv: tuple[str, ...]) -> Observed:
        """Give a job to one worker and follow it; not started means that the zygote is gone."""
        job_fd = envelope.seal(job, argv, output_bytes=self.config.output_bytes)
        try:
            watch = self._worker(zygote, external=bool(argv))
            watch.hand_over(job_fd)
        except BrokenPipeError:
            return Observed()
        finally:
            os.close(job_fd)
        with self._lock:
            self._watches.add(watch)
        try:
            self._refill(zygote)
            return watch.follow(job.limits)
        finally:
            with self._lock:
                self._watches.discard(watch)
            watch.close()

    def _worker(self, zygote: ZygoteProcess, *, external: bool) -> Watch:
        """Take a worker that stands ready, or order one."""
        while not external:
            with self._lock:
                if not self._spares:
                    break
                spare = self._spares.popleft()
            if not spare.is_over:
                return spare
            spare.close()
        return zygote.order(self._terms(external=external))

    def _refill(self, zygote: ZygoteProcess) -> None:
        """Order a spare for the one that was taken; the zygote makes it when nothing else waits."""
        with self._lock:
            missing = self.config.spares - len(self._spares)
            if self._zygote is not zygote or missing <= 0:
                return
            try:
                self._spares.append(zygote.order(self._terms(external=False), spare=True))
            except OSError:
                return  # the zygote has just ended; the next job finds that out and restarts it

    def _terms(self, *, external: bool) -> Terms:
        return Terms(self.config.start_timeout_s, self.config.output_bytes, external)

    def _current(self) -> ZygoteProcess:
        with self._lock:
            if self._closed:
                raise SandboxUnavailable("the sandbox is closed")
            if self._zygote is None:
                self._zygote = self._start_zygote()
                self._starts += 1
                for _ in range(self.config.spares):
                    spare = self._zygote.order(self._terms(external=False), spare=True)
                    self._spares.append(spare)
            return self._zygote

    def _start_zygote(self) -> ZygoteProcess:
        """Start a zygote at the configured level; failing that, one for built-in methods only."""
        try:
            confinement = Confinement.at(self.config.level, self._shown())
            zygote = ZygoteProcess(self.config, confinement)
        except Unconfined as error:
            self._problem = str(error)
        else:
            self._problem = zygote.problem
            if not zygote.problem:
                return zygote
            zygote.end()
        return ZygoteProcess(self.config, Confinement.at("limits"))

    def _shown(self) -> list[str]:
        """Return the folders of external workers, which they may read and execute."""
        files = [part for argv in self.config.external.values() for part in argv if part[:1] == "/"]
        return [os.path.dirname(os.path.realpath(f)) for f in files if os.path.isfile(f)]

    def _discard(self, broken: ZygoteProcess) -> None:
        """Forget a zygote that ended or hangs; whoever sees it first kills it."""
        with self._lock:
            if self._zygote is broken:
                log.warning("the sandbox's zygote ended or hangs; a new one takes its place")
                self._zygote = None
                self._drop_spares()
                broken.kill()

    def _drop_spares(self) -> None:
        while self._spares:
            self._spares.pop().close()
