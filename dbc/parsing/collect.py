"""Sort the statements of a DBC by what they speak of, and name what is damaged."""

import re
from dataclasses import dataclass, field
from math import isfinite

from dbc.model import Repair
from dbc.parsing.statements import Statement

__all__ = ["Collector", "Contents", "Fields", "named_values"]

_PAIR = re.compile(r'([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*"((?:\\"|[^"])*+)"')
_QUOTED = re.compile(r'"((?:\\"|[^"])*+)"')

_LONGEST_INT = 20

Fields = dict[str, str | None]


@dataclass(slots=True)
class Contents:
    """The statements of one file, sorted by what they speak of. Keys: the id as written, a name."""

    messages: list[tuple[Statement, list[Statement]]] = field(default_factory=list)
    choices: dict[tuple[int, str], Statement] = field(default_factory=dict)
    tables: dict[str, dict[int, str]] = field(default_factory=dict)
    float_types: dict[tuple[int, str], Statement] = field(default_factory=dict)
    described: set[tuple[int, str]] = field(default_factory=set)
    """The signals for which a value table or a value type has been looked up."""
    switches: dict[tuple[int, str], list[Statement]] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    of_message: dict[tuple[int, str], str] = field(default_factory=dict)
    of_signal: dict[tuple[int, str, str], str] = field(default_factory=dict)
    sections: set[str] = field(default_factory=set)
    repairs: list[Repair] = field(default_factory=list)


class Collector:
    """Files statements where the messages' builder finds them; remembers what it repaired."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found = Contents()
        self._orphans_expected = False

    def repair(self, line: int, what: str) -> None:
        """Remember what was done about the damage of a line."""
        self.found.repairs.append(Repair(self.file, line, what))

    def collect(self, statement: Statement) -> None:
        """File one statement where `message` will look for it."""
        self.found.sections.add(statement.keyword)
        if statement.fields is None:
            self._damaged(statement)
            return
        if statement.fields.get("end") == "":
            self.repair(statement.line, f"{statement.keyword} without its semicolon; supplied")
        store = getattr(self, f"_store_{statement.keyword.strip('_').lower()}", None)
        if store is not None:
            store(statement, statement.fields)

    def _damaged(self, statement: Statement) -> None:
        shown = statement.text if len(statement.text) <= 60 else statement.text[:57] + "..."
        if statement.keyword == "BO_":
            self._orphans_expected = True
            self.found.messages.append((statement, []))
            self.repair(statement.line, f"unreadable message {shown!r}; dropped with its signals")
        else:
            self.repair(
                statement.line, f"unreadable {statement.keyword or 'text'} {shown!r}; dropped"
            )

    def _store_bo(self, statement: Statement, fields: Fields) -> None:
        self._orphans_expected = False
        self.found.messages.append((statement, []))

    def _store_sg(self, statement: Statement, fields: Fields) -> None:
        if self._orphans_expected:
            return
        if not self.found.messages:
            self.repair(statement.line, f"signal {fields['name']} before any message; dropped")
            return
        self.found.messages[-1][1].append(statement)

    def _store_val(self, statement: Statement, fields: Fields) -> None:
        if fields["id"] is not None:  # else it describes an environment variable
            self.found.choices[int(fields["id"]), fields["name"] or ""] = statement

    def _store_val_table(self, statement: Statement, fields: Fields) -> None:
        self.found.tables[fields["name"] or ""] = named_values(fields["pairs"])

    def _store_sig_valtype(self, statement: Statement, fields: Fields) -> None:
        self.found.float_types[int(fields["id"] or 0), fields["name"] or ""] = statement

    def _store_sg_mul_val(self, statement: Statement, fields: Fields) -> None:
        key = (int(fields["id"] or 0), fields["name"] or "")
        self.found.switches.setdefault(key, []).append(statement)

    def _store_ba_def(self, statement: Statement, fields: Fields) -> None:
        if fields["type"] == "ENUM":
            values = tuple(_QUOTED.findall(fields["values"] or ""))
            self.found.enums[fields["name"] or ""] = values

    def _store_ba_def_def(self, statement: Statement, fields: Fields) -> None:
        self.found.defaults[fields["name"] or ""] = (fields["value"] or "").strip('"')

    def _store_ba(self, statement: Statement, fields: Fields) -> None:
        name, value = fields["name"] or "", (fields["value"] or "").strip('"')
        if fields["message"] is not None:
            self.found.of_message[int(fields["message"]), name] = value
        elif fields["owner"] is not None:
            self.found.of_signal[int(fields["owner"]), fields["signal"] or "", name] = value

    def check_sections(self) -> None:
        """Name the sections that a DBC must have and this one does not."""
        line = self.found.messages[0][0].line if self.found.messages else 1
        for section in ("BS_", "BU_"):
            if section not in self.found.sections:
                self.repair(line, f"no {section}: section; supplied")

    def check_unused(self) -> None:
        """Name the value tables and value types that describe no signal; they were not used."""
        for kind, unused in (
            ("VAL_", self.found.choices),
            ("SIG_VALTYPE_", self.found.float_types),
        ):
            for (can_id, name), statement in unused.items():
                if (can_id, name) in self.found.described:
                    continue
                self.repair(
                    statement.line, f"{kind} for {can_id} {name}, which is no signal; dropped"
                )

    def _enum(self, attribute: str, value: str | None, otherwise: tuple[str, ...] = ()) -> str:
        """Return an attribute's value as its name, whether it was written by name or by index."""
        value = self.found.defaults.get(attribute, "") if value is None else value
        names = self.found.enums.get(attribute, otherwise)
        if value.isdigit() and value not in names:
            return names[int(value)] if int(value) < len(names) else ""
        return value


def named_values(text: str | None) -> dict[int, str]:
    """Return the names of raw values; a value that is no finite number has none."""
    values: dict[int, str] = {}
    for written, name in _PAIR.findall(text or ""):
        number = float(written)
        if isfinite(number):
            exact = written.lstrip("+-").isdigit() and len(written) < _LONGEST_INT
            values[int(written) if exact else int(number)] = name.replace('\\"', '"')
    return values
