"""Cards go into a directory once, in any number; what was revoked there does not come back."""

import subprocess
import sys
from pathlib import Path

import pytest

from user_lib.contract.card import Card
from user_lib.contract.errors import ConfigError
from user_lib.wire.enrolment import Enrolment, enrol, revoke
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import create_keys


def card(name: str = "kona-1", role: str = "vehicle") -> Card:
    return create_keys(name, role).card  # type: ignore[arg-type]


def test_a_name_may_have_two_keys_while_they_are_rotated(tmp_path: Path) -> None:
    old, new = card(), card()
    enrol(old, tmp_path)
    enrol(new, tmp_path)
    assert enrol(new, tmp_path) == enrol(new, tmp_path)
    assert set(Keyring(tmp_path).named("kona-1")) == {old, new}

    revoke(old.fingerprint, tmp_path)

    assert Keyring(tmp_path).cards == (new,)


def test_a_revoked_key_does_not_come_back(tmp_path: Path) -> None:
    kona = card()
    path = enrol(kona, tmp_path)
    text = path.read_text()
    revoke("kona-1", tmp_path)

    with pytest.raises(ConfigError, match="was revoked"):
        enrol(kona, tmp_path)
    (tmp_path / "copy.pub").write_text(text)
    assert Keyring(tmp_path).cards == ()


def test_a_name_or_key_of_another_is_not_enrolled(tmp_path: Path) -> None:
    kona = card()
    enrol(kona, tmp_path)

    with pytest.raises(ConfigError, match="the name kona-1 is that of the vehicle"):
        enrol(card("kona-1", "analyst"), tmp_path)
    with pytest.raises(ConfigError, match="has this key for the vehicle kona-1"):
        enrol(Card(name="kona-2", role="vehicle", curve=kona.curve, sign=kona.sign), tmp_path)
    with pytest.raises(ConfigError, match="no card of 'kona-9'"):
        revoke("kona-9", tmp_path)


def test_of_several_cards_each_knows_those_before(tmp_path: Path) -> None:
    old, new, other = card(), card(), card("kona-1", "analyst")
    enrolment = Enrolment(tmp_path)

    assert enrolment.add(old) == tmp_path / "kona-1.pub"
    assert enrolment.add(new) == tmp_path / f"kona-1-{new.fingerprint}.pub"
    assert enrolment.add(new) == tmp_path / f"kona-1-{new.fingerprint}.pub"
    with pytest.raises(ConfigError, match="the name kona-1 is that of the vehicle"):
        enrolment.add(other)
    assert set(Keyring(tmp_path).cards) == {old, new}


OPENED = """
import sys
from pathlib import Path
opened = 0
def count(event, args):
    global opened
    opened += event == "open" and str(args[0]).endswith(".pub")
sys.addaudithook(count)
from user_lib.cli.entry import main
ring, *cards = sys.argv[1:]
assert main(["keys", "enrol", *cards, "--into", ring]) == 0
print(opened, file=sys.stderr)
"""


def test_a_directory_is_read_once_however_many_cards_go_in(tmp_path: Path) -> None:
    ring, there, coming = tmp_path / "ring", 8, 12
    for number in range(there):
        enrol(card(f"here-{number}"), ring)
    cards = [enrol(card(f"new-{number}"), tmp_path / "cards") for number in range(coming)]

    done = subprocess.run(
        [sys.executable, "-c", OPENED, ring, *cards], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stderr) == there + coming


def test_what_is_no_directory_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="is no directory of cards"):
        enrol(card(), tmp_path / "file")
