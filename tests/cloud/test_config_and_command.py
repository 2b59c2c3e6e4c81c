"""The settings, and the command with its exit codes."""

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloud.config import Bounds, Config, load
from user_lib.contract.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloud", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_ledger_is_in_ones_own_home_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/oscar")

    assert Config().ledger == Path("/home/oscar/.local/state/oodida/cloud.db")


def test_the_example_keeps_the_ledger_where_the_packaged_service_may_write() -> None:
    unit = (ROOT / "systemd" / "units" / "oodida-cloud.service").read_text()
    state = re.search(r"^StateDirectory=(\S+)$", unit, flags=re.MULTILINE)

    assert state is not None
    example = load(ROOT / "systemd" / "cloud.example.yaml")
    assert example.ledger == Path("/var/lib", state[1], "cloud.db")


def test_the_commented_example_is_what_the_cloud_does_by_default(tmp_path: Path) -> None:
    example = ROOT / "systemd" / "cloud.example.yaml"
    text = example.read_text()
    everything = tmp_path / "all.yaml"
    everything.write_text(re.sub(r"^# ?(?=[a-z_ ]+:( |$))", "", text, flags=re.MULTILINE))

    assert load(example).lease_s == Config().lease_s
    full = load(everything)
    default = Config()
    assert (full.offboard, full.bounds) == (default.offboard, default.bounds)
    assert full.contents == default.contents
    keys = (*Config.__struct_fields__, *Bounds.__struct_fields__)
    assert [key for key in keys if not re.search(rf"^# +{key}:|^{key}:", text, re.MULTILINE)] == []


def test_a_wrong_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "cloud.yaml"
    path.write_text("leese_s: 3\n")

    with pytest.raises(ConfigError, match="did you mean lease_s"):
        load(path)


def test_an_address_that_others_can_reach_needs_keys(tmp_path: Path) -> None:
    path = tmp_path / "cloud.yaml"
    path.write_text("bind: tcp://0.0.0.0:5570\n")
    with pytest.raises(ConfigError, match="oodida keys create"):
        load(path)

    path.write_text("bind: tcp://0.0.0.0:5570\ninsecure: true\n")
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        load(path)

    path.write_text("bind: tcp://0.0.0.0:5570\nkeys: {own: c.key, authorized: cards}\n")
    keys = load(path).keys
    assert keys is not None
    assert (keys.own, keys.authorized) == (tmp_path / "c.key", tmp_path / "cards")


def test_there_is_no_start_without_keys_unless_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keys: none are given"):
        load(None)

    assert load(None, insecure=True).insecure
    with pytest.raises(ConfigError, match="exclude each other"):
        load(None, insecure=True, key=tmp_path / "c.key", authorized=tmp_path)
    with pytest.raises(ConfigError, match="give both"):
        load(None, key=tmp_path / "c.key")


def test_help_and_version() -> None:
    assert run("--help").returncode == 0
    assert run("--version").stdout.startswith("oodida-cloud ")


def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run(
            "--insecure", "--bind", f"tcp://127.0.0.1:{port}", "--ledger", str(tmp_path / "c.db")
        )

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("oodida-cloud: bind: ")
    assert "--bind" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ledger_in_use_is_a_clear_error(cloud: Any) -> None:
    done = run("--insecure", "--bind", "tcp://127.0.0.1:*", "--ledger", str(cloud.ledger))

    assert done.returncode == 2
    assert "in use by another oodida-cloud" in done.stderr


def test_a_bad_configuration_is_a_clear_error(tmp_path: Path) -> None:
    assert run("--config", str(tmp_path / "none.yaml")).returncode == 2
    done = run("--bind", "udp://x")
    assert (done.returncode, "not an address" in done.stderr) == (2, True)


def test_it_says_when_it_is_ready_and_ends_cleanly(cloud: Any) -> None:
    assert re.fullmatch(r"tcp://127\.0\.0\.1:\d+", cloud.endpoint)

    assert cloud.stop() == 0

    log = cloud.log.read_text()
    assert f"listening on {cloud.endpoint} ledger {cloud.ledger}" in log
    assert "INSECURE: no keys" in log
    assert log.rstrip().endswith("stopped")
    assert not Path(f"{cloud.ledger}-wal").exists()


def test_check_config_starts_nothing(tmp_path: Path) -> None:
    done = run("--insecure", "--check-config", "--ledger", str(tmp_path / "never.db"))

    assert done.returncode == 0
    assert re.search(r"room for \d+ connections, \d+ vehicles", done.stderr)
    assert not (tmp_path / "never.db").exists()


def test_fewer_connections_than_vehicles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cloud.yaml"
    path.write_text("bounds: {vehicles: 100, connections: 50}\ninsecure: true\n")

    with pytest.raises(ConfigError, match=r"bounds.connections: 50 are fewer.*\(100\)"):
        load(path)
