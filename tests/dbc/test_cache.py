"""A database that was read before is not read again, and means the same."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dbc import DatabaseRef, load
from dbc.cache import DatabaseCache, ParsedDatabase
from dbc.model import MessageDef, SignalDef

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted((ROOT / "dbc" / "files").glob("*.dbc"))
SHARED = ROOT.parent / "shared" / "data" / "dbc"
THEIRS = [p for p in sorted(SHARED.rglob("*.*")) if p.suffix in (".dbc", ".kcd", ".sym")]


@pytest.mark.parametrize("path", [*OURS, *THEIRS], ids=lambda p: p.name)
def test_a_database_from_the_cache_says_the_same(path: Path, tmp_path: Path) -> None:
    refs = [DatabaseRef(path, channel="can0")]
    first = load(refs, cache=tmp_path)
    again = load(refs, cache=tmp_path)

    assert again == first == load(refs)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_cache_is_what_is_read(tmp_path: Path) -> None:
    content = OURS[0].read_bytes()
    told = ParsedDatabase(
        (MessageDef(name="X", can_id=1, extended=False, length=8, signals=()),), ()
    )
    DatabaseCache(tmp_path).put(content, OURS[0].name, told)

    found = load([DatabaseRef(OURS[0], channel="can1")], cache=tmp_path)

    assert [(m.name, m.channel) for m in found.messages] == [("X", "can1")]


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    database, cache = tmp_path / "car.dbc", tmp_path / "cache"
    text = OURS[0].read_text()
    database.write_text(text)
    before = load([DatabaseRef(database)], cache=cache)
    database.write_text(
        text.replace("BO_ 256 EngineData", "BO_ 256 MotorData").replace(": 8", ": 7", 1)
    )

    after = load([DatabaseRef(database)], cache=cache)

    assert after == load([DatabaseRef(database)]) != before


@pytest.mark.parametrize("module", ["dbc/model.py", "dbc/parsing/dbcfile.py"])
def test_what_another_version_of_the_reader_read_is_read_anew(module: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dbc", tmp_path / "dbc")
    cache = tmp_path / "cache"
    program = (
        "import sys; from pathlib import Path; from dbc import DatabaseRef, load;"
        "load([DatabaseRef(Path(sys.argv[1]))], cache=Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(OURS[0]), str(cache)]
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    entries = []
    for comment in ("", "# better\n"):
        with (tmp_path / module).open("a") as source:
            source.write(comment)
        subprocess.run(command, env=environ, cwd=tmp_path, check=True)
        entries.append(len(list(cache.iterdir())))

    assert entries == [1, 2]


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x93\x01"])
def test_a_damaged_entry_costs_only_the_time(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = load([DatabaseRef(OURS[0])], cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        again = load([DatabaseRef(OURS[0])], cache=tmp_path)

    assert again == first
    assert "is read anew" in caplog.text
    assert len(entry.read_bytes()) > 100


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_costs_only_the_time_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    assert load([DatabaseRef(OURS[0])], cache=tmp_path / "cache").messages


def test_a_cache_in_the_place_of_a_file_costs_only_the_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("no folder")

    assert load([DatabaseRef(OURS[0])], cache=taken).messages
    assert "cannot be kept" in caplog.text


def test_what_msgpack_has_no_room_for_is_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    huge = SignalDef(name="S", start=0, length=8, choices={10**30: "never"})
    message = MessageDef(name="X", can_id=1, extended=False, length=8, signals=(huge,))
    cache = DatabaseCache(tmp_path)

    cache.put(b"", "x.dbc", ParsedDatabase((message,), ()))

    assert cache.get(b"", "x.dbc") is None
    assert "cannot be kept" in caplog.text


def test_the_oldest_entries_make_way(tmp_path: Path) -> None:
    cache = DatabaseCache(tmp_path)
    for i in range(70):
        cache.put(b"%d" % i, "x.dbc", ParsedDatabase((), ()))

    assert len(list(tmp_path.iterdir())) == 64
    assert cache.get(b"69", "x.dbc") == ParsedDatabase((), ())
