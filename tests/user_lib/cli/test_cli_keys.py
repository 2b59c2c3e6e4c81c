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


@pytest.mark.parametrize("zone", ["", "+02:00"])
def test_a_card_can_be_trusted_until_a_day_and_for_longer_later(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], zone: str
) -> None:
    told(capfd, "create", "ada", "--role", "analyst", "--dir", tmp_path)
    for day in ("2127-01-01T00:00:00", "2128-01-01T00:00:00"):
        until = f"{day}{zone}"
        told(capfd, "enrol", tmp_path / "ada.pub", "--into", tmp_path / "ring", "--until", until)
        (listed,) = told(capfd, "list", tmp_path / "ring")
        assert [card["not_after"] for card in listed] == [f"{day}{zone or '+00:00'}"]

    enrol = ["keys", "enrol", str(tmp_path / "ada.pub"), "--into", str(tmp_path / "ring")]
    assert main([*enrol, "--until", "soon"]) == 2
    assert "no date such as" in capfd.readouterr().err
    assert main([*enrol, "--until", "2020-01-01"]) == 2
    assert "2020-01-01 is past; to end it now use `oodida keys revoke" in capfd.readouterr().err


def test_a_vehicles_card_is_refused_where_its_owner_keeps_those_of_analysts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, role in (("ada", "analyst"), ("kona-1", "vehicle")):
        told(capfd, "create", name, "--role", role, "--dir", tmp_path)
    cards = [str(tmp_path / f"{name}.pub") for name in ("ada", "kona-1")]

    assert main(["keys", "enrol", *cards, "--into", str(tmp_path / "analysts")]) == 2

    said = capfd.readouterr().err
    assert "kona-1 is a card of the role vehicle, and a vehicle takes orders of analysts" in said
    assert not (tmp_path / "analysts").exists()
    told(capfd, "enrol", *cards, "--into", tmp_path / "authorized")
    told(capfd, "enrol", cards[0], "--into", tmp_path / "analysts")


def test_no_error_about_a_damaged_secret_file_shows_a_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main(["keys", "create", "ada", "--role", "analyst", "--dir", str(tmp_path)])
    key = tmp_path / "ada.key"
    text = key.read_text()
    secrets = [line.split(": ")[1].strip("'") for line in text.splitlines() if "_secret:" in line]
    assert len(secrets) == 2
    assert key.stat().st_mode & 0o777 == 0o600
    wrongs = {
        "cut": text[:-20],
        "swapped": text.replace(secrets[0], secrets[1]),
        "unknown": text + "more: 1\\n",
        "short": text.replace(secrets[0], secrets[0][:-2]),
        "unclosed": text.replace(secrets[0], secrets[0] + "' ["),
        "number": text.replace(secrets[0], "3"),
    }
    for name, wrong in wrongs.items():
        path = tmp_path / f"{name}.key"
        path.touch(mode=0o600)
        path.write_text(wrong)
        for words in (["show"], ["rotate"], ["rotate", "--finish"], ["show", "--json"]):
            main(["keys", *words, str(path)])
            said = capfd.readouterr()
            assert said.out + said.err
            assert [s for s in secrets if s[:16] in said.out + said.err] == [], (name, words)


def test_a_secret_file_that_others_can_read_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main(["keys", "create", "ada", "--role", "analyst", "--dir", str(tmp_path)])
    (tmp_path / "ada.key").chmod(0o644)

    assert main(["keys", "show", str(tmp_path / "ada.key")]) == 2
    assert "chmod" in capfd.readouterr().err


def test_a_revoked_key_is_refused_with_the_way_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ring = str(tmp_path / "ring")
    main(["keys", "create", "ada", "--role", "analyst", "--dir", str(tmp_path)])
    main(["keys", "enrol", str(tmp_path / "ada.pub"), "--into", ring])
    main(["keys", "revoke", "ada", "--from", ring])
    capfd.readouterr()

    assert main(["keys", "enrol", str(tmp_path / "ada.pub"), "--into", ring]) == 2
    said = capfd.readouterr().err
    assert "this key of ada was revoked here" in said
    assert "`oodida keys create ada --role analyst --dir DIR`" in said
