"""Damage of one statement costs that statement, is named with its line, and nothing else."""

from pathlib import Path

import cantools
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbc import Catalog, DatabaseRef, Decoder, load
from dbc.parsing.dbcfile import parse_dbc
from dbc.parsing.statements import decode_text
from user_lib.contract.errors import DatabaseError

HEAD = 'VERSION ""\n\nBS_:\n\nBU_: A\n\n'
SOUND = """VERSION ""

NS_ :
	CM_
	BA_DEF_

BS_:

BU_: ECU GW

BO_ 256 Engine: 8 ECU
 SG_ Speed : 0|16@1+ (0.25,0) [0|16000] "rpm" GW
 SG_ Torque : 23|12@0- (0.5,-10) [-1024|1000] "Nm" GW

BO_ 2566848784 Far: 8 ECU
 SG_ Page M : 0|8@1+ (1,0) [0|0] "" GW
 SG_ One m1 : 8|8@1+ (1,0) [0|0] "" GW

CM_ SG_ 256 Speed "revolutions;
two lines";
VAL_ 256 Speed 0 "Off" 1 "On \\"now\\"" ;
"""


def test_reads_messages_signals_and_value_tables() -> None:
    messages, repairs = parse_dbc(SOUND, "sound.dbc")

    assert repairs == ()
    engine, far = messages
    assert (engine.name, engine.can_id, engine.extended, engine.length) == ("Engine", 256, False, 8)
    speed, torque = engine.signals
    assert (speed.scale, speed.unit, speed.maximum) == (0.25, "rpm", 16000)
    assert speed.choices == {0: "Off", 1: 'On "now"'}
    assert (torque.big_endian, torque.signed, torque.offset, torque.first_bit) == (
        True,
        True,
        -10,
        16,
    )
    assert (far.can_id, far.extended) == (0x18FF0110, True)
    assert far.signals[1].multiplexed_by == "Page"
    assert far.signals[1].multiplex_ids == ((1, 1),)
    assert far.signals[0].minimum is None


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("BS_:\n", "", "no BS_: section"),
        ("BU_: ECU GW\n", "", "no BU_: section"),
        ('CM_ SG_ 256 Speed "rev', 'CM_ SG_ 256 "rev', "unreadable CM_"),
        ("CM_ SG_", "CM_ 145 SG_", "unreadable CM_"),
        ("VAL_ 256 Speed", "VAL_ 256 Sped", "VAL_ for 256 Sped, which is no signal"),
        ('"On \\"now\\"" ;', '"On"', "VAL_ without its semicolon"),
        ("BO_ 256 ", "BO_ 110576 ", "taken as 29-bit id"),
        ("BO_ 256 ", "BO_ 1075054137 ", "more than 29 bits"),
        ("23|12@0-", "23|12@2-", "unreadable SG_"),
        ("23|12@0-", "23|0@0-", "it has no bits"),
        ("23|12@0-", "3|12@0-", "overlap"),
        ("23|12@0-", "63|12@0-", "ends in byte 9"),
        ("Torque :", "Speed :", "that of bit 23 renamed Speed_2"),
        ("NS_ :", "garbage here\nNS_ :", "unreadable text 'garbage here'"),
        ("(0.25,0)", "(0.25;0)", "unreadable SG_"),
    ],
)
def test_repairs_local_damage_and_says_so(
    before: str, after: str, words: str, tmp_path: Path
) -> None:
    assert before in SOUND
    path = tmp_path / "damaged.dbc"
    path.write_text(SOUND.replace(before, after, 1))

    catalog = load([DatabaseRef(path)])

    assert any(words in repair.what for repair in catalog.repairs)
    assert "Far" in {m.name for m in catalog.messages}
    with pytest.raises(DatabaseError, match=r"damaged\.dbc"):
        load([DatabaseRef(path)], strict=True)


def test_a_repair_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "damaged.dbc"
    path.write_text(SOUND.replace("23|12@0-", "23|12@9-"))

    (repair,) = load([DatabaseRef(path)]).repairs

    line = SOUND[: SOUND.index("Torque")].count("\n") + 1
    assert (repair.file, repair.line) == ("damaged.dbc", line)


def test_signals_of_an_unreadable_message_go_to_no_other() -> None:
    messages, repairs = parse_dbc(
        SOUND.replace("BO_ 2566848784 Far:", "BO_ 2566848784 Far"), "x.dbc"
    )

    assert [m.name for m in messages] == ["Engine"]
    assert [s.name for s in messages[0].signals] == ["Speed", "Torque"]
    assert "dropped with its signals" in repairs[0].what


def test_a_lost_quote_costs_its_own_statement() -> None:
    messages, repairs = parse_dbc(SOUND.replace('"rpm"', '"rpm'), "x.dbc")

    assert [s.name for s in messages[0].signals] == ["Torque"]
    assert len(messages) == 2
    assert any("unreadable SG_" in r.what for r in repairs)


def test_names_may_begin_with_a_digit() -> None:
    messages, repairs = parse_dbc(SOUND.replace("Torque :", "4WD_Torque :"), "x.dbc")

    assert messages[0].signals[1].name == "4WD_Torque"
    assert repairs == ()


def test_long_names_are_used_for_signals_messages_and_switches() -> None:
    long = (
        'BA_ "SystemSignalLongSymbol" SG_ 2566848784 Page "PageOfTheMonitor";\n'
        'BA_ "SystemMessageLongSymbol" BO_ 2566848784 "FarFarAway";\n'
    )
    messages, repairs = parse_dbc(SOUND + long, "x.dbc")

    assert messages[1].name == "FarFarAway"
    assert [s.name for s in messages[1].signals] == ["PageOfTheMonitor", "One"]
    assert messages[1].signals[1].multiplexed_by == "PageOfTheMonitor"
    assert repairs == ()


def test_a_switch_that_is_not_marked_is_taken_as_one() -> None:
    unmarked = SOUND.replace("Page M :", "Page :") + "SG_MUL_VAL_ 2566848784 One Page 1-3, 7-7;\n"

    messages, repairs = parse_dbc(unmarked, "x.dbc")

    page, one = messages[1].signals
    assert page.is_switch
    assert (one.multiplexed_by, one.multiplex_ids) == ("Page", ((1, 3), (7, 7)))
    assert "Page is not marked as a switch" in repairs[0].what


def test_nested_and_ranged_multiplexing_is_read() -> None:
    nested = SOUND.replace("One m1 :", "One m1M :") + ("BO_ 5 Other: 8 ECU\n")
    nested = nested.replace(
        "CM_ SG_ 256",
        ' SG_ Deep m2 : 16|8@1+ (1,0) [0|0] "" GW\n\n'
        "SG_MUL_VAL_ 2566848784 One Page 1-1;\n"
        "SG_MUL_VAL_ 2566848784 Deep One 2-2, 4-9;\nCM_ SG_ 256",
    )

    messages, repairs = parse_dbc(nested, "x.dbc")

    _, one, deep = messages[1].signals
    assert (one.multiplexed_by, one.is_switch) == ("Page", True)
    assert (deep.multiplexed_by, deep.multiplex_ids) == ("One", ((2, 2), (4, 9)))
    assert repairs == ()


def test_a_signal_may_lie_elsewhere_on_another_page() -> None:
    moved = SOUND.replace(
        "CM_ SG_ 256",
        ' SG_ One m2 : 16|8@1+ (1,0) [0|0] "" GW\nCM_ SG_ 256',
    )

    messages, repairs = parse_dbc(moved, "x.dbc")

    assert [s.name for s in messages[1].signals] == ["Page", "One"]
    assert messages[1].signals[1].variants[0].start == 16
    assert repairs == ()


def test_each_place_of_a_signal_has_its_value_type_and_its_names() -> None:
    """cantools, too, takes both for floats."""
    text = (
        HEAD + "BO_ 1 M: 8 A\n"
        ' SG_ Page M : 0|8@1+ (1,0) [0|0] "" A\n'
        ' SG_ F m1 : 8|32@1- (1,0) [0|0] "" A\n SG_ F m2 : 16|32@1- (1,0) [0|0] "" A\n'
        'SIG_VALTYPE_ 1 F : 1;\nVAL_ 1 F 0 "none" ;\n'
    )

    messages, repairs = parse_dbc(text, "x.dbc")

    _, signal = messages[0].signals
    assert [s.is_float for s in (signal, *signal.variants)] == [True, True]
    assert [s.choices for s in (signal, *signal.variants)] == [{0: "none"}] * 2
    assert repairs == ()


@pytest.mark.parametrize(
    "fields", [("11|4@0+", "22|7@0+"), ("20|4@1+", "3|5@1+"), ("7|4@0+", "8|4@1+")]
)
@pytest.mark.parametrize("order", [1, -1])
def test_of_two_signals_of_one_name_that_of_cantools_keeps_it(
    fields: tuple[str, str], order: int
) -> None:
    places = "".join(f' SG_ S : {field} (1,0) [0|0] "" A\n' for field in fields[::order])
    text = HEAD + "BO_ 1 M: 4 A\n" + places
    payload = bytes.fromhex("a35c96f1")

    (message,), repairs = parse_dbc(text, "x.dbc")

    theirs = cantools.database.load_string(text, "dbc", strict=False).decode_message(1, payload)
    values = Decoder(Catalog((message,)), [""]).decode(
        0, np.frombuffer(payload, np.uint8)[None, :], np.array([4])
    )
    assert values[0, message.columns["S"]] == theirs["S"]
    assert set(message.columns) == {"S", "S_2"}
    assert [r.line for r in repairs] == [HEAD.count("\n") + 3]


def test_text_is_utf8_and_cp1252_where_it_is_not() -> None:
    mixed = b'SG_ A "\xc2\xb0C"\nSG_ B "\xb0C"\n'

    assert decode_text(mixed) == 'SG_ A "°C"\nSG_ B "°C"\n'


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"hello world\n", b"%PDF-1.4\n%..."])
def test_a_file_that_is_no_database_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.dbc"
    path.write_bytes(content)

    with pytest.raises(DatabaseError, match=r"other\.dbc:1: .*is it a DBC"):
        load([DatabaseRef(path)])


@pytest.mark.parametrize("suffix", ["kcd", "sym"])
def test_a_damaged_kcd_or_sym_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"broken.{suffix}"
    path.write_text("<NetworkDefinition><Bus>")

    with pytest.raises(DatabaseError, match=rf"broken\.{suffix} cannot be read"):
        load([DatabaseRef(path)])


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="nowhere"):
        load([DatabaseRef(tmp_path / "nowhere.dbc")])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_never_raises_but_a_database_error(data: st.DataObject) -> None:
    text = SOUND
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 12))
        put = data.draw(
            st.sampled_from(["", '"', ";", "\n", "\\", ":", "BO_ ", "SG_ ", "9" * 30, "é"])
        )
        text = text[:at] + put + text[at + cut :]
    try:
        messages, repairs = parse_dbc(text, "fuzzed.dbc")
    except DatabaseError:
        return
    assert all(len(m.columns) == len(m.signals) for m in messages)
    assert all(r.file == "fuzzed.dbc" and r.line > 0 for r in repairs)


@pytest.mark.timeout(10)
def test_a_megabyte_of_open_quotes_does_not_hang() -> None:
    body = 'CM_ SG_ 256 Speed "' + '\\"' * 200_000 + "\n" + 'VAL_ 256 Speed 0 "a\n' * 30_000

    _, repairs = parse_dbc(SOUND + body, "huge.dbc")

    assert repairs
