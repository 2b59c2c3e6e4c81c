from dataclasses import dataclass

from user_lib.tables import Table, render_text, say


@dataclass(frozen=True)
class Row:
    name: str
    size: float


COLUMNS = {"name": lambda r: r.name, "size": lambda r: r.size}


def test_a_table_aligns_its_columns() -> None:
    table = Table([Row("a", 1.0), Row("long-name", 2.123456789)], COLUMNS, "nothing")

    assert repr(table) == "name       size\na          1\nlong-name  2.12346"
    assert table[1].name == "long-name"
    assert table.to_dicts()[0] == {"name": "a", "size": 1.0}


def test_an_empty_table_says_what_is_missing() -> None:
    assert repr(Table([], COLUMNS, "no vehicle yet")) == "(no vehicle yet)"
    assert Table([], COLUMNS, "a < b")._repr_html_() == "<em>a &lt; b</em>"


def test_html_is_escaped() -> None:
    shown = Table([Row("<script>", 0.0)], COLUMNS, "")._repr_html_()

    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_values_are_said_in_few_characters() -> None:
    assert say({"a": 1.0, "b": {"c": None}}) == "a 1, b c -"
    assert say(list(range(100))) == "[0, 1, 2, … 100 values]"
    assert say("x" * 100) == "x" * 59 + "…"
    assert say("two\nlines") == "two lines"


def test_nothing_found_is_said_and_not_left_blank() -> None:
    assert say({"times_ns": [], "values": [], "of": 100}) == "times_ns none, values none, of 100"


def test_no_cell_steers_the_terminal_or_breaks_its_row() -> None:
    hostile = "\x1b]0;pwned\x07\x1b[2J"
    table = Table([Row(hostile, 1.0), Row("\u202ea\x00", 2.0)], COLUMNS, "none\x1b[1m")
    shown = r"\x1b]0;pwned\x07\x1b[2J"

    second = r"\u202ea\x00".ljust(len(shown))
    assert repr(table).splitlines()[1:] == [f"{shown}  1", f"{second}  2"]
    assert shown in table._repr_html_()
    assert table.to_dicts()[0]["name"] == hostile
    assert repr(Table([], COLUMNS, "none\x1b[1m")) == r"(none\x1b[1m)"
    assert render_text(["channel"], [["a\nb\x1b[31m"]]) == "channel\na\\x0ab\\x1b[31m"
