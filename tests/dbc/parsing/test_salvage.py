"""KCD and SYM files with a message that cantools refuses: the others load, the line is named."""

from pathlib import Path

import pytest

from dbc import DatabaseRef, load
from tests.fuzz.seeds import KCD, SYM
from user_lib.contract.errors import DatabaseError


def loaded(tmp_path: Path, name: str, text: str) -> tuple[dict[str, int], list[str]]:
    """The messages with their ids, and the repairs in words."""
    path = tmp_path / name
    path.write_text(text)
    catalog = load([DatabaseRef(path)])
    ids = {m.name: m.can_id | m.extended << 31 for m in catalog.messages}
    return ids, [str(repair) for repair in catalog.repairs]


def test_sound_files_need_no_repair(tmp_path: Path) -> None:
    assert loaded(tmp_path, "a.kcd", KCD) == ({"One": 0x10, "Two": 0x11, "Three": 0x12}, [])
    assert loaded(tmp_path, "a.sym", SYM) == ({"One": 0x10, "Two": 0x11, "Paged": 0x12}, [])


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('offset="0" length="8"/>\n', 'offset="0" length="0"/>\n', "length 0 is not greater"),
        ('"0x11"', '"elf"', "invalid literal"),
    ],
)
def test_a_kcd_loses_the_damaged_message_only(
    tmp_path: Path, before: str, after: str, words: str
) -> None:
    ids, repairs = loaded(tmp_path, "bad.kcd", KCD.replace(before, after))

    assert ids == {"One": 0x10, "Three": 0x12}
    (repair,) = repairs
    assert repair.startswith("bad.kcd:7: message Two cannot be read (")
    assert words in repair
    assert repair.endswith("); dropped")


def test_an_identifier_of_a_kcd_that_lost_its_mark_is_taken_as_29_bits(tmp_path: Path) -> None:
    ids, repairs = loaded(tmp_path, "bad.kcd", KCD.replace('"0x11"', '"0x18FF00"'))

    assert ids["Two"] == 0x18FF00 | 1 << 31
    assert repairs == [
        "bad.kcd:7: Standard frame id 0x18ff00 is more than 11 bits in message Two; "
        "taken as 29-bit id"
    ]


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ("ID=011h", "ID=9999h", "Two"),
        ("Var=Own unsigned", "Var=Own nonsense", "Two"),
        ("Var=B unsigned 16,8", "Var=B unsigned 16,0", "Paged"),
    ],
)
def test_a_sym_loses_the_damaged_message_with_all_its_pages(
    tmp_path: Path, before: str, after: str, name: str
) -> None:
    ids, repairs = loaded(tmp_path, "bad.sym", SYM.replace(before, after))

    assert set(ids) == {"One", "Two", "Paged"} - {name}
    (repair,) = repairs
    line = SYM[: SYM.index(f"[{name}]")].count("\n") + 1
    assert repair.startswith(f"bad.sym:{line}: message {name} cannot be read (")


def test_strict_refuses_what_was_salvaged(tmp_path: Path) -> None:
    path = tmp_path / "bad.kcd"
    path.write_text(KCD.replace('"0x11"', '"elf"'))

    with pytest.raises(DatabaseError, match=r"bad\.kcd:7: message Two"):
        load([DatabaseRef(path)], strict=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.kcd", KCD.replace("</Bus>", "")),
        ("a.kcd", KCD.replace('length="8"', 'length="0"').replace('id="0x12"', 'id="elf"')),
        ("a.sym", SYM.replace("FormatVersion=6.0", "FormatVersion=5.0")),
        ("a.sym", SYM.replace("Sig=Shared unsigned", "Sig=Shared nonsense")),
    ],
)
def test_damage_of_the_whole_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(DatabaseError, match=rf"^{name} cannot be read as {name[2:].upper()}: \S"):
        load([DatabaseRef(path)])
