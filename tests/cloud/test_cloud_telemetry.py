from pathlib import Path

from cloud.telemetry import Snapshot, render


def test_a_snapshot_becomes_text_with_every_documented_name() -> None:
    text = render(
        Snapshot(
            messages={"received": 7, "dropped.slow": 1},
            complaints={"malformed message": 2},
            refusals={"not_yours": 1},
            vehicles_online=3,
            vehicles_known=5,
            ledger_bytes=4096,
            busy_s=1.5,
        )
    ).decode()

    assert 'oodida_cloud_messages_total{fate="dropped.slow"} 1.0' in text
    assert 'oodida_cloud_complaints_total{kind="malformed message"} 2.0' in text
    assert 'oodida_cloud_vehicles{state="offline"} 2.0' in text
    assert "oodida_cloud_busy_seconds_total 1.5" in text
    assert 'oodida_process_resident_bytes{part="cloud"}' in text
    documented = (Path(__file__).parents[2] / "systemd" / "METRICS.md").read_text()
    names = {line.split("{")[0].split()[0] for line in text.splitlines() if line[0] != "#"}
    assert [name for name in sorted(names) if f"`{name}" not in documented] == []
