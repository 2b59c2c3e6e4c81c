"""A configuration file is read whole and right, or refused with the key and what to do."""

from pathlib import Path
from typing import Literal

import msgspec
import pytest

from user_lib.contract.errors import ConfigError
from user_lib.wire.config import convert_config, load_config


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    history_mb: int = 64


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vehicle_id: str
    level: Literal["info", "debug"] = "info"
    inner: Inner = Inner()
    many: dict[str, Inner] = {}


def test_a_good_file_becomes_a_struct(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("vehicle_id: kona-1\ninner: {history_mb: 3}\n")

    assert load_config(path, Outer) == Outer("kona-1", inner=Inner(3))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vehicle_id: a\nhistory: 3\n", "history: no such key; did you mean history_mb?"),
        ("vehicle_id: a\ninner: {histroy_mb: 3}\n", "inner.histroy_mb: no such key; did you mean"),
        ("vehicle_id: a\ninner: {history_mb: much}\n", "inner.history_mb: Expected int"),
        ("vehicle_id: a\nzzz: 1\n", "zzz: no such key; see the commented example"),
        ("level: info\n", "vehicle_id"),
        ("", "vehicle_id"),
        ("- a\n", "not a mapping"),
        ("a: [\n", "is not YAML"),
        (
            "vehicle_id: a\nlevel: info\nvehicle_id: b\n",
            "line 3: the key vehicle_id is there already, in line 1; put both together",
        ),
        ("vehicle_id: a\ninner: {history_mb: 1, history_mb: 2}\n", "the key history_mb is there"),
        ("vehicle_id: a\nlevel: loud\n", "level: Invalid enum value 'loud'; there are "),
        (
            "vehicle_id: a\nmany: {0: {}}\n",
            'many: a key that is a number needs quotes, such as "0"',
        ),
    ],
)
def test_a_bad_file_is_refused_by_name_and_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_config(path, Outer)

    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.yaml", Outer)


def test_a_file_that_is_not_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(tmp_path / "agent.yaml", Outer)


def test_a_key_deep_inside_is_named_with_its_whole_path() -> None:
    with pytest.raises(ConfigError, match=r"many\[\.\.\.\]\.x: no such key"):
        convert_config({"vehicle_id": "a", "many": {"b": {"x": 1}}}, Outer, where="arguments")


class WithPath(msgspec.Struct, forbid_unknown_fields=True):
    ledger: Path = Path("default")


def test_a_path_is_read_from_text_and_from_nothing_else() -> None:
    assert convert_config({"ledger": "a/b"}, WithPath, where="x").ledger == Path("a/b")
    with pytest.raises(ConfigError, match=r"x: ledger: Expected Path, got int"):
        convert_config({"ledger": 3}, WithPath, where="x")


def _bomb(key: str) -> str:
    lines = [f"    l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 9)]
    return "\n".join([f"{key}:", "    l0: &l0 [x, x, x, x, x, x, x, x, x, x]", *lines])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(_bomb("many"), "aliases", id="bomb"),
        pytest.param("&a {vehicle_id: *a}", "aliases", id="within itself"),
        pytest.param("many: " + "[" * 5000 + "]" * 5000, "nest(ed|ing)", id="deep"),
        pytest.param("vehicle_id: " + "9" * 6000, "is not YAML", id="digits"),
        pytest.param("vehicle_id: 2026-13-45", "is not YAML", id="no date"),
        pytest.param("# " + "x" * 5_000_000, "right file", id="large"),
    ],
)
@pytest.mark.timeout(20)
def test_a_file_made_to_hurt_is_refused_in_words(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=says):
        load_config(path, Outer)
