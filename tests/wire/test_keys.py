"""Keys on disk: what is secret stays private, what is wrong is refused with what to do."""

import stat
from pathlib import Path

import pytest
import yaml

from user_lib.contract.errors import ConfigError
from user_lib.wire.key_rotation import finish_rotation, start_rotation
from user_lib.wire.keys import create_keys, load_card, load_keys, write_keys


def test_keys_come_back_as_they_were_written(tmp_path: Path) -> None:
    keys = create_keys("kona-1", "vehicle")
    path = write_keys(keys, tmp_path)

    again = load_keys(path, "vehicle")

    assert again.card == keys.card == load_card(tmp_path / "kona-1.pub")
    assert again.sign(b"x") == keys.sign(b"x")


def test_only_the_owner_can_read_the_secrets_and_the_card_has_none(tmp_path: Path) -> None:
    keys = create_keys("kona-1", "vehicle")
    path = write_keys(keys, tmp_path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    card = (tmp_path / "kona-1.pub").read_text()
    held = yaml.safe_load(path.read_text())
    assert held["curve_secret"] not in card
    assert held["sign_secret"] not in card
    assert held["curve_secret"] not in f"{keys!r} {keys}"
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_a_secret_file_that_others_can_read_is_refused_with_the_chmod(tmp_path: Path) -> None:
    path = write_keys(create_keys("kona-1", "vehicle"), tmp_path)
    path.chmod(0o640)

    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        load_keys(path)


def test_a_card_in_place_of_the_secret_file_is_told_as_such_whatever_its_mode(
    tmp_path: Path,
) -> None:
    path = write_keys(create_keys("ada", "analyst"), tmp_path)

    for mode in (0o644, 0o600):
        path.with_suffix(".pub").chmod(mode)
        with pytest.raises(ConfigError, match=rf"ada\.pub: is a card; the secret file is {path}$"):
            load_keys(path.with_suffix(".pub"), "analyst")


def test_a_credential_of_the_service_manager_may_show_a_right_of_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_keys(create_keys("kona-1", "vehicle"), tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path.chmod(0o440)
    assert load_keys(path).card.name == "kona-1"

    path.chmod(0o444)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_keys(path)


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    write_keys(create_keys("kona-1", "vehicle"), tmp_path)

    with pytest.raises(ConfigError, match="is there already"):
        write_keys(create_keys("kona-1", "vehicle"), tmp_path)


def test_keys_of_another_role_or_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    path = write_keys(create_keys("ada", "analyst"), tmp_path)
    with pytest.raises(ConfigError, match="is of the analyst ada; needed is one of: vehicle"):
        load_keys(path, "vehicle")

    other = yaml.safe_load(write_keys(create_keys("eve", "analyst"), tmp_path).read_text())
    mixed = {**yaml.safe_load(path.read_text()), "sign_secret": other["sign_secret"]}
    path.write_text(yaml.safe_dump(mixed))
    with pytest.raises(ConfigError, match="do not belong together"):
        load_keys(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: ada\n", "role"),
        ("name: a b\nrole: analyst\ncurve: x\nsign: y\n", "name"),
        (f"name: ada\nrole: king\ncurve: {'0' * 64}\nsign: {'0' * 64}\n", "role"),
        (f"name: ada\nrole: analyst\ncurve: {'0' * 63}\nsign: {'0' * 64}\n", "curve"),
    ],
)
def test_what_is_no_card_is_refused_by_its_key(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "ada.pub"
    path.write_text(text)

    with pytest.raises(ConfigError, match=words):
        load_card(path)


def test_a_secret_file_is_not_taken_for_a_card(tmp_path: Path) -> None:
    path = write_keys(create_keys("ada", "analyst"), tmp_path)

    with pytest.raises(ConfigError, match=r"its card is .*ada\.pub"):
        load_card(path)


def test_rotated_keys_take_over_only_when_told(tmp_path: Path) -> None:
    path = write_keys(create_keys("kona-1", "vehicle"), tmp_path)
    old = load_keys(path).card
    with pytest.raises(ConfigError, match="begin with"):
        finish_rotation(path)

    new, card_path = start_rotation(path)
    assert load_keys(path).card == old
    assert load_card(card_path) == new != old

    assert finish_rotation(path) == (new, old.fingerprint)
    assert load_keys(path).card == load_card(tmp_path / "kona-1.pub") == new
    assert load_keys(tmp_path / "kona-1.old.key").card == old


def test_derived_keys_are_the_same_each_time_and_another_name_has_others() -> None:
    fleet = create_keys("fleet", "vehicle")

    first, again, other = (fleet.derive(name) for name in ("sim-1", "sim-1", "sim-2"))

    assert first.card == again.card
    assert (first.card.name, first.card.role) == ("sim-1", "vehicle")
    assert first.sign(b"x") == again.sign(b"x")
    assert not {first.card.curve, first.card.sign} & {other.card.curve, other.card.sign}
    assert create_keys("fleet", "vehicle").derive("sim-1").card != first.card
