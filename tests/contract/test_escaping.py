"""Text for a terminal: nothing that steers it gets through, and nothing else is changed."""

import sys
import unicodedata

import pytest

from user_lib.contract.escaping import LINES, escaped, steers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;pwned\x07\x1b[2J", r"\x1b]0;pwned\x07\x1b[2J"),
        ("a\x00b\x7f\x9b31m", r"a\x00b\x7f\x9b31m"),
        ("\u202eevil\u2069\u200b", r"\u202eevil\u2069\u200b"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\ud800 \U000e0001", r"\ud800 \U000e0001"),
        ("two\r\nlines\t", r"two\x0d\x0alines\x09"),
        ("Zoë, 東京 🚗 \\x1b", "Zoë, 東京 🚗 \\x1b"),
    ],
)
def test_what_steers_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert escaped(shown) == shown


def test_lines_stay_lines_where_they_are_meant() -> None:
    assert escaped("a\tb\n\x1b[1mc\r\n", keep=LINES) == "a\tb\n\\x1b[1mc\\x0d\n"


def test_no_character_of_the_steering_categories_is_left() -> None:
    steering = {"Cc", "Cf", "Zl", "Zp", "Cs"}
    every = map(chr, range(sys.maxunicode + 1))
    left = [c for c in every if (unicodedata.category(c) in steering) != (escaped(c) != c)]

    assert left == []
    assert steers("a\x1b")
    assert not steers("a 🚗\u00a0")
