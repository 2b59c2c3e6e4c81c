"""Metrics of a process as Prometheus text, served on a unix socket of this machine.

::

    curl --unix-socket /run/oodida-agent/metrics.sock http://localhost/metrics

A process says what it measures as `Sample`s, read at the moment of the question by a thread of its
own; so whoever gives them hands out snapshots. Without a socket nothing is loaded or run.
"""

import logging
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from user_lib.contract.errors import ConfigError

__all__ = ["MetricsServer", "Sample", "process_samples", "prometheus_text"]

log = logging.getLogger(__name__)

REQUEST_BYTES = 4096
PATIENCE_S = 2.0
"""How long one question may take; the next one waits for it."""
RETRY_S = 0.2
MODE = 0o660
METRICS = b"/metrics"


class Sample(msgspec.Struct, frozen=True):
    """One number: a ``name`` in Prometheus' manner (``_total`` for a counter), its labels."""

    name: str
    value: float
    help: str = ""
    labels: dict[str, str] = {}
    kind: Literal["gauge", "counter"] = "gauge"


def prometheus_text(samples: Iterable[Sample]) -> bytes:
    """Return samples as Prometheus text; those of one name must have the same labels' names."""
    from prometheus_client import CollectorRegistry, generate_latest  # 8 MB, once asked for
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for sample in samples:
        if sample.name not in families:
            kind = CounterMetricFamily if sample.kind == "counter" else GaugeMetricFamily
            families[sample.name] = kind(sample.name, sample.help, labels=list(sample.labels))
        families[sample.name].add_metric(list(sample.labels.values()), sample.value)

    class Collector:
        """What a registry asks."""

        def collect(self) -> Iterable[Metric]:
            return families.values()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry)


def process_samples(parts: Iterable[tuple[str, int]]) -> list[Sample]:
    """Return processor time and memory of processes, by the part's name and its process id.

    A process that is gone, or that this one may not see, is left out.
    """
    found: list[Sample] = []
    for part, pid in parts:
        with suppress(OSError, IndexError, ValueError):
            cpu_s, rss_bytes = _usage(pid)
            labels = {"part": part}
            found += [
                Sample(
                    "oodida_process_cpu_seconds_total", cpu_s, "Processor time", labels, "counter"
                ),
                Sample("oodida_process_resident_bytes", rss_bytes, "Resident memory", labels),
            ]
    return found


def _usage(pid: int) -> tuple[float, int]:
    # The command in parentheses may hold blanks; what follows it are numbers.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * resource.getpagesize()


class MetricsServer:
    """Answers every question on a unix socket with the text that ``render`` gives.

    Raises: ConfigError, when the socket cannot be made.
    """

    def __init__(self, path: str, render: Callable[[], bytes]) -> None:
        self._path, self._render = Path(path), render
        self.failures = 0
        self._stop = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.unlink(missing_ok=True)
            self._listener.bind(path)
            self._path.chmod(MODE)
            self._listener.listen()
        except OSError as error:
            self._listener.close()
            raise ConfigError(f"metrics_socket: {path}: cannot be made: {error}") from None
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and remove the socket."""
        self._stop.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_S)
        with suppress(OSError):
            self._path.unlink()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._stop.wait(RETRY_S):
                    return
                self._failed(error)  # no descriptor is free: the question waits until one is
                continue
            try:
                with connection:
                    self._answer(connection)
            except Exception as error:  # noqa: BLE001 - the top of a loop: counted, and told once
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if self.failures == 1:
            log.warning("a question for metrics could not be answered: %s", error)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        asked = b""
        while b"\r\n\r\n" not in asked and len(asked) < REQUEST_BYTES:
            part = connection.recv(REQUEST_BYTES)
            if not part:
                return
            asked += part
        status, body = self._reply(asked.partition(b"\r\n")[0])
        head = (
            f"HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)

    def _reply(self, request: bytes) -> tuple[str, bytes]:
        """Return status and body for the first line of a question."""
        method, _, rest = request.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method != b"GET":
            return "405 Method Not Allowed", b"ask with GET\n"
        if path == METRICS:
            return "200 OK", self._render()
        if path == b"/":
            return "200 OK", b"the metrics of this process are at /metrics\n"
        return "404 Not Found", b"there is only /metrics\n"
