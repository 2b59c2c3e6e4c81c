"""``oodida keys``: from making keys to revoking them, for a person and for a program."""

import json
from pathlib import Path
from typing import Any

import pytest

from user_lib.cli.entry import main


def told(capfd: pytest.CaptureFixture[str], *words: object) -> Any:
    """Run a command with --json and return what it answered, a value a line."""
    assert main(["keys", *map(str, words), "--json"]) == 0
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_the_life_of_a_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ring = tmp_path / "authorized"
    (made,) = told(capfd, "create", "kona-1", "--role", "vehicle", "--dir", tmp_path)
    (shown,) = told(capfd, "show", tmp_path / "kona-1.key")
    assert made["fingerprint"] == shown["fingerprint"]

    told(capfd, "enrol", tmp_path / "kona-1.pub", "--into", ring)
    (following,) = told(capfd, "rotate", tmp_path / "kona-1.key")
    told(capfd, "enrol", following["path"], "--into", ring)
    (listed,) = told(capfd, "list", ring)
    assert {c["fingerprint"] for c in listed} == {made["fingerprint"], following["fingerprint"]}

    told(capfd, "rotate", tmp_path / "kona-1.key", "--finish")
    told(capfd, "revoke", made["fingerprint"], "--from", ring)

    (listed,) = told(capfd, "list", ring)
    assert [c["fingerprint"] for c in listed] == [following["fingerprint"]]
    (shown,) = told(capfd, "show", tmp_path / "kona-1.key")
    assert shown["fingerprint"] == following["fingerprint"]


def test_no_command_tells_a_secret(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "ada", "--role", "analyst", "--dir", str(tmp_path)])
    main(["keys", "show", str(tmp_path / "ada.key")])
    main(["keys", "show", str(tmp_path / "ada.key"), "--json"])
    said = capfd.readouterr()
    lines = (tmp_path / "ada.key").read_text().splitlines()
    secrets = [line.split(": ")[1].strip("'") for line in lines if "_secret:" in line]

    assert len(secrets) == 2
    assert [s for s in secrets if s in said.out + said.err] == []


def test_mistakes_are_exit_code_2_and_say_what_to_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    create = ["keys", "create", "ada", "--role", "analyst", "--dir", str(tmp_path)]
    assert main(create) == 0
    assert main(create) == 2
    assert "never overwritten" in capfd.readouterr().err
    assert main(["keys", "enrol", str(tmp_path / "ada.key"), "--into", str(tmp_path / "a")]) == 2
    assert "its card is" in capfd.readouterr().err
    assert main(["keys", "revoke", "eve", "--from", str(tmp_path)]) == 2
    assert "no card of 'eve'" in capfd.readouterr().err


def test_help_shows_how_it_goes(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["keys", "--help"])
    assert "oodida keys enrol kona-1.pub --into authorized" in capfd.readouterr().out
