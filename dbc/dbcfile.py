"""Read a DBC file into messages, repairing what is damaged in one place only.

Every repair is named with its line. What the file says about nodes, comments and relations is not
used for decoding and is passed over, but must read as it should.
"""

import re
from dataclasses import dataclass, field

from dbc.layout import repaired_signals
from dbc.model import MessageDef, Repair, SignalDef
from dbc.statements import Statement, statements
from user_lib.contract.errors import DatabaseError

__all__ = ["parse_dbc"]

INDEPENDENT = "VECTOR__INDEPENDENT_SIG_MSG"
"""Where editors keep signals that belong to no message."""
EXTENDED_BIT = 0x80000000
MAX_LENGTH = 1785
"""The longest payload that a J1939 transport carries."""

_PAIR = re.compile(r'([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*"((?:\\"|[^"])*+)"')
_QUOTED = re.compile(r'"((?:\\"|[^"])*+)"')
_FRAME_FORMATS = ("StandardCAN", "ExtendedCAN", "reserved", "J1939PG", *["reserved"] * 10)
_FRAME_FORMATS += ("StandardCAN_FD", "ExtendedCAN_FD")
_ROLES = {"Counter": "counter", "ChecksumXor8": "xor8", "ChecksumSum8": "sum8"}

Fields = dict[str, str | None]


@dataclass(slots=True)
class _Contents:
    """The statements of one file, sorted by what they speak of. Keys: the id as written, a name."""

    messages: list[tuple[Statement, list[Statement]]] = field(default_factory=list)
    choices: dict[tuple[int, str], Statement] = field(default_factory=dict)
    tables: dict[str, dict[int, str]] = field(default_factory=dict)
    float_types: dict[tuple[int, str], Statement] = field(default_factory=dict)
    switches: dict[tuple[int, str], list[Statement]] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    of_message: dict[tuple[int, str], str] = field(default_factory=dict)
    of_signal: dict[tuple[int, str, str], str] = field(default_factory=dict)
    sections: set[str] = field(default_factory=set)
    repairs: list[Repair] = field(default_factory=list)


def parse_dbc(text: str, file: str) -> tuple[tuple[MessageDef, ...], tuple[Repair, ...]]:
    """Return the messages of a DBC and what had to be repaired to read them.

    Raises: DatabaseError, if there is not one message in it, naming file, line and cause.
    """
    reader = _Reader(file)
    for statement in statements(text):
        reader.collect(statement)
    reader.check_sections()
    messages = [
        m for header, signals in reader.found.messages if (m := reader.message(header, signals))
    ]
    reader.check_unused()
    repairs = sorted(reader.found.repairs)
    if not messages and not reader.found.sections & {"VERSION", "NS_", "BS_", "BU_"}:
        damage = next((str(r) for r in repairs if "unreadable" in r.what), f"{file}:1: no message")
        raise DatabaseError(f"{damage}; the file holds no message that can be read; is it a DBC?")
    return tuple(messages), tuple(repairs)


class _Reader:
    """Collects statements, then builds messages; remembers what it repaired."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found = _Contents()
        self._orphans_expected = False

    def repair(self, line: int, what: str) -> None:
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
        self.found.tables[fields["name"] or ""] = _pairs(fields["pairs"])

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

    def message(self, header: Statement, signals: list[Statement]) -> MessageDef | None:
        """Build one message; None, if it cannot be one."""
        fields = header.fields
        if fields is None or fields["name"] == INDEPENDENT:
            for statement in signals:
                self._claim(int((fields or {}).get("id") or 0), statement)
            return None
        written = int(fields["id"] or 0)
        name, length = fields["name"] or "", int(fields["length"] or 0)
        defs = self._signals(written, signals)
        identifier = self._identifier(written, name, header.line)
        if identifier is None:
            return None
        if length > MAX_LENGTH:
            self.repair(header.line, f"message {name} of {length} bytes, more than any; dropped")
            return None
        lines = [s.line for s in signals]
        kept, repairs = repaired_signals(name, length, defs, lines)
        for line, what in repairs:
            self.repair(line, what)
        get = self.found.of_message.get
        cycle = get((written, "GenMsgCycleTime"), self.found.defaults.get("GenMsgCycleTime", ""))
        frame_format = self._enum("VFrameFormat", get((written, "VFrameFormat")), _FRAME_FORMATS)
        return MessageDef(
            name=get((written, "SystemMessageLongSymbol")) or name,
            can_id=identifier[0],
            extended=identifier[1],
            length=length,
            signals=kept,
            database=self.file,
            sender="" if fields["sender"] == "Vector__XXX" else fields["sender"] or "",
            fd=frame_format.endswith("CAN_FD"),
            cycle_time_ms=_number(cycle) or None,
        )

    def _identifier(self, written: int, name: str, line: int) -> tuple[int, bool] | None:
        can_id, extended = written & ~EXTENDED_BIT, bool(written & EXTENDED_BIT)
        if can_id > 0x1FFFFFFF:
            self.repair(line, f"message {name}: {can_id:#x} has more than 29 bits; dropped")
            return None
        if not extended and can_id > 0x7FF:
            self.repair(
                line, f"message {name}: {can_id:#x} has more than 11 bits; taken as 29-bit id"
            )
            extended = True
        return can_id, extended

    def _claim(
        self, written: int, statement: Statement
    ) -> tuple[Statement | None, Statement | None]:
        """Take a signal's value table and value type; what nobody takes is reported."""
        key = (written, (statement.fields or {}).get("name") or "")
        return self.found.choices.pop(key, None), self.found.float_types.pop(key, None)

    def _signals(self, written: int, signals: list[Statement]) -> list[SignalDef]:
        marks = {f["name"] or "": f["mux"] or "" for s in signals if (f := s.fields)}
        roots = [name for name, mark in marks.items() if mark.endswith("M")]
        switch_names = {
            (s.fields or {}).get("switch") or ""
            for name in marks
            for s in self.found.switches.get((written, name), ())
        }
        only = roots[0] if len(roots) == 1 else ""
        top = [name for name in roots if marks[name] == "M"]
        return [
            self._signal(written, s, only, top[0] if len(top) == 1 else "", switch_names)
            for s in signals
        ]

    def _signal(
        self, written: int, statement: Statement, only: str, top: str, switches: set[str]
    ) -> SignalDef:
        fields = statement.fields or {}
        name = fields["name"] or ""
        choices, float_type = self._claim(written, statement)
        switch, ranges = self._multiplexing(written, statement, only, top)
        minimum, maximum = _number(fields["minimum"]), _number(fields["maximum"])
        bounded = not (fields["minimum"] == fields["maximum"] == "0")
        role = self._enum("SignalRole", self.found.of_signal.get((written, name, "SignalRole")))
        return SignalDef(
            name=self.found.of_signal.get((written, name, "SystemSignalLongSymbol")) or name,
            start=int(fields["start"] or 0),
            length=int(fields["length"] or 0),
            big_endian=fields["order"] == "0",
            signed=fields["sign"] == "-",
            is_float=float_type is not None and (float_type.fields or {})["type"] in ("1", "2"),
            scale=_number(fields["scale"]),
            offset=_number(fields["offset"]),
            unit=(fields["unit"] or "").replace('\\"', '"'),
            minimum=minimum if bounded else None,
            maximum=maximum if bounded else None,
            choices=self._choices(choices),
            is_switch=(fields["mux"] or "").endswith("M") or name in switches,
            multiplexed_by=switch,
            multiplex_ids=ranges,
            role=_ROLES.get(role, ""),
        )

    def _choices(self, statement: Statement | None) -> dict[int, str]:
        if statement is None or statement.fields is None:
            return {}
        if table := statement.fields["table"]:
            if table not in self.found.tables:
                self.repair(statement.line, f"no VAL_TABLE_ {table}; dropped")
            return self.found.tables.get(table, {})
        return _pairs(statement.fields["pairs"])

    def _multiplexing(
        self, written: int, statement: Statement, only: str, top: str
    ) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Return the switch on which a signal depends and the ranges of its values.

        A message with one switch says so with ``m3`` alone; one with several says in SG_MUL_VAL_
        which of them a signal follows.
        """
        fields = statement.fields or {}
        name, mark = fields["name"] or "", fields["mux"] or ""
        if not mark or name == only:
            return "", ()
        listed = [f for s in self.found.switches.get((written, name), []) if (f := s.fields)]
        ranges = [r for f in listed for r in _ranges(f["ranges"])]
        digits = mark.strip("mM")
        own = [(int(digits), int(digits))] if digits else []
        if only:
            return only, _merged([*own, *ranges])
        if listed:
            return listed[-1]["switch"] or "", _merged(ranges)
        if top and own:
            what = f"signal {name}: no SG_MUL_VAL_ names its switch; taken as {top}"
            self.repair(statement.line, what)
            return top, tuple(own)
        return "", ()


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _pairs(text: str | None) -> dict[int, str]:
    return {int(float(n)): name.replace('\\"', '"') for n, name in _PAIR.findall(text or "")}


def _ranges(text: str | None) -> list[tuple[int, int]]:
    bounds = [part.split("-") for part in (text or "").split(",") if part.strip()]
    return [(int(low), int(high)) for low, high in bounds]


def _merged(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the ranges in order, those that touch or overlap as one."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if low > high:
            continue
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)
