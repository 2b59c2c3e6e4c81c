import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from user_lib.contract.errors import ConfigError
from user_lib.wire.metrics import MetricsServer, Sample, process_samples, prometheus_text

ROOT = Path(__file__).parents[2]


def ask(path: str, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(request)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "metrics.sock")


@pytest.fixture
def server(path: str) -> Iterator[MetricsServer]:
    served = MetricsServer(
        path, lambda: prometheus_text([Sample("a_total", 3, "A", {}, "counter")])
    )
    yield served
    served.close()


def test_a_question_is_answered_with_prometheus_text(server: MetricsServer, path: str) -> None:
    head, _, body = ask(path).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.0 200 OK")
    assert body == b"# HELP a_total A\n# TYPE a_total counter\na_total 3.0\n"
    assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize("asked", ["/metrics", "/metrics?name[]=a"])
def test_only_the_metrics_are_at_their_path(server: MetricsServer, path: str, asked: str) -> None:
    assert ask(path, f"GET {asked} HTTP/1.1\r\n\r\n".encode()).endswith(b"a_total 3.0\n")


@pytest.mark.parametrize("asked", ["/metric", "/metrics/", "/../etc/passwd", "metrics", ""])
def test_another_path_is_not_found(server: MetricsServer, path: str, asked: str) -> None:
    answer = ask(path, f"GET {asked} HTTP/1.1\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.0 404 Not Found")
    assert b"a_total" not in answer
    assert b"/metrics" in answer


def test_the_root_says_where_the_metrics_are(server: MetricsServer, path: str) -> None:
    answer = ask(path, b"GET / HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.0 200 OK")
    assert b"/metrics" in answer
    assert b"a_total" not in answer


def test_what_is_no_question_does_not_stop_the_next_one(server: MetricsServer, path: str) -> None:
    assert ask(path, b"POST / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 405")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(path)
    assert ask(path, b"x" * 4096).startswith(b"HTTP/1.0 405")

    assert b"a_total 3.0" in ask(path)


def test_a_question_waits_while_no_descriptor_is_free(server: MetricsServer, path: str) -> None:
    question = b"GET /metrics HTTP/1.1\r\n\r\n"
    assert b"a_total 3.0" in ask(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))  # which 0 has
        try:
            for client in (first, second):  # a descriptor is set aside for the first one already
                client.settimeout(10)
                client.connect(path)
                client.sendall(question)
            until = time.monotonic() + 10
            while not server.failures and time.monotonic() < until:
                time.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert server.failures
        assert second.recv(65536).startswith(b"HTTP/1.0 200 OK")


def test_a_failing_render_is_counted_and_the_next_question_answered(path: str) -> None:
    answers = iter([RuntimeError("no"), b"fine\n"])

    def render() -> bytes:
        answer = next(answers)
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    server = MetricsServer(path, render)
    assert ask(path) == b""
    assert ask(path).endswith(b"fine\n")
    assert server.failures == 1
    server.close()


def test_a_socket_left_over_is_replaced_and_removed_at_the_end(path: str) -> None:
    MetricsServer(path, lambda: b"")._listener.close()  # as a killed process leaves it

    server = MetricsServer(path, lambda: b"new")
    assert ask(path).endswith(b"new")
    assert oct(os.stat(path).st_mode & 0o777) == "0o660"
    server.close()

    assert not os.path.exists(path)


def test_a_socket_that_cannot_be_made_names_the_key() -> None:
    with pytest.raises(ConfigError, match="metrics_socket: /no/such/folder"):
        MetricsServer("/no/such/folder/m.sock", lambda: b"")


def test_samples_of_one_name_are_one_family_with_their_labels() -> None:
    down = Sample("t", 0, "T", {"state": 'd"n'})
    text = prometheus_text([Sample("t", 1, "T", {"state": "up"}), Sample("u", 5), down]).decode()

    assert text.count("# TYPE t gauge") == 1
    assert 't{state="up"} 1.0\nt{state="d\\"n"} 0.0\n' in text


def test_a_process_is_measured_and_one_that_is_gone_left_out() -> None:
    samples = {s.name: s.value for s in process_samples([("me", os.getpid()), ("gone", 2**22 + 1)])}

    assert samples["oodida_process_resident_bytes"] > 5e6
    assert samples["oodida_process_cpu_seconds_total"] > 0
    assert len(samples) == 2


def test_nothing_of_prometheus_is_loaded_before_the_first_question() -> None:
    script = "import sys, user_lib.wire.metrics; print('prometheus_client' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"
