"""A directory of cards is followed as it changes; one wrong file locks nobody out."""

from pathlib import Path

import pytest

from user_lib.contract.card import Card
from user_lib.contract.clock import SECOND
from user_lib.contract.errors import ConfigError
from user_lib.wire.enrolment import enrol, revoke
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import create_keys


class FakeClock:
    """Both clocks at a time that the test moves; the wall clock well after every file's stamp."""

    def __init__(self) -> None:
        self.now_ns = 1

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return 10**19 + self.now_ns


def card(name: str = "kona-1", role: str = "vehicle") -> Card:
    return create_keys(name, role).card  # type: ignore[arg-type]


def test_a_card_counts_from_its_enrolment_to_its_revocation(tmp_path: Path) -> None:
    clock, kona = FakeClock(), card()
    ring = Keyring(tmp_path, clock=clock)
    assert ring.find(kona.curve) is None

    enrol(kona, tmp_path)
    assert not ring.refresh()
    clock.now_ns += SECOND
    assert ring.refresh()
    assert ring.find(kona.curve) == kona
    assert ring.named("kona-1") == (kona,)

    assert revoke("kona-1", tmp_path) == [kona]
    clock.now_ns += SECOND
    assert ring.refresh()
    assert ring.find(kona.curve) is None
    assert ring.named("kona-1") == ()
    clock.now_ns += SECOND
    assert not ring.refresh()


def test_a_change_within_the_same_stamp_is_seen(tmp_path: Path) -> None:
    ring = Keyring(tmp_path)  # the real clock: the directory was just made
    first = card("v1")
    enrol(first, tmp_path)
    ring.refresh(within_ns=0)
    second = card("v2")
    enrol(second, tmp_path)
    ring.refresh(within_ns=0)

    assert set(ring.cards) == {first, second}


def test_a_file_that_is_no_card_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.pub").write_text("name: [")
    (tmp_path / "note.txt").write_text("not a card")
    kona = card()
    enrol(kona, tmp_path)

    assert Keyring(tmp_path).cards == (kona,)
    assert "bad.pub" in caplog.text


def test_only_the_wanted_roles_count(tmp_path: Path) -> None:
    kona, ada = card(), card("ada", "analyst")
    enrol(kona, tmp_path)
    enrol(ada, tmp_path)

    assert Keyring(tmp_path, "analyst").cards == (ada,)


def test_a_directory_that_goes_away_changes_nothing(tmp_path: Path) -> None:
    clock, kona = FakeClock(), card()
    directory = tmp_path / "cards"
    enrol(kona, directory)
    ring = Keyring(directory, clock=clock)
    directory.rename(tmp_path / "elsewhere")
    clock.now_ns += SECOND

    assert not ring.refresh()
    assert ring.find(kona.curve) == kona
    with pytest.raises(ConfigError, match="cannot be read"):
        Keyring(directory)


def test_who_may_have_a_card_that_cannot_be_read_is_in_doubt(tmp_path: Path) -> None:
    for name in ("ana", "ben", "eve"):
        enrol(create_keys(name, "analyst").card, tmp_path)
    revoke("eve", tmp_path)
    ana = tmp_path / "ana.pub"
    whole = ana.read_bytes()
    ana.write_bytes(b"")
    keyring = Keyring(tmp_path, "analyst")

    doubts = {name: keyring.doubt(name) for name in ("ana", "ben", "eve", "zoe")}

    assert doubts == {"ana": ana, "ben": None, "eve": None, "zoe": ana}
    ana.write_bytes(whole)  # in place: the directory itself does not change
    assert keyring.refresh(within_ns=0)
    assert [keyring.doubt(name) for name in doubts] == [None] * 4
    assert keyring.named("ana")


def test_a_newer_card_that_cannot_be_read_leaves_a_name_with_a_revoked_key_in_doubt(
    tmp_path: Path,
) -> None:
    enrol(create_keys("eve", "analyst").card, tmp_path)
    revoke("eve", tmp_path)
    newer = enrol(create_keys("eve", "analyst").card, tmp_path)
    (tmp_path / "everard.pub").write_bytes(b"")
    assert Keyring(tmp_path).doubt("eve") is None

    newer.write_bytes(b"")

    assert Keyring(tmp_path).doubt("eve") == newer
