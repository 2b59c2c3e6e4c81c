"""Read a DBC file into messages, repairing what is damaged in one place only.

Every repair is named with its line. What the file says about nodes, comments and relations is not
used for decoding and is passed over, but must read as it should.
"""

from dbc.model import MessageDef, Repair, SignalDef
from dbc.parsing.collect import Collector, named_values
from dbc.parsing.layout import repaired_signals
from dbc.parsing.statements import Statement, statements
from user_lib.contract.errors import DatabaseError

__all__ = ["parse_dbc"]

INDEPENDENT = "VECTOR__INDEPENDENT_SIG_MSG"
"""Where editors keep signals that belong to no message."""
EXTENDED_BIT = 0x80000000
MAX_LENGTH = 1785
"""The longest payload that a J1939 transport carries."""

_FRAME_FORMATS = ("StandardCAN", "ExtendedCAN", "reserved", "J1939PG", *["reserved"] * 10)
_FRAME_FORMATS += ("StandardCAN_FD", "ExtendedCAN_FD")
_ROLES = {"Counter": "counter", "ChecksumXor8": "xor8", "ChecksumSum8": "sum8"}
_ROLES_BY_NAME = {"COUNTER": "counter"}
"""What opendbc's files say by name alone; which algorithm their CHECKSUM is, they do not say."""


def parse_dbc(text: str, file: str) -> tuple[tuple[MessageDef, ...], tuple[Repair, ...]]:
    """Return the messages of a DBC and what had to be repaired to read them.

    Raises: DatabaseError, if there is not one message in it, naming file, line and cause.
    """
    reader = _Builder(file)
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
        raise DatabaseError(
            f"{damage}; the file holds no message that can be read; is it a DBC, KCD or SYM?"
        )
    return tuple(messages), tuple(repairs)


class _Builder(Collector):
    """Builds messages from what was collected."""

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
        """Take a signal's value table and value type; what nobody takes is reported.

        Several may: a signal of one name can lie elsewhere on each page.
        """
        key = (written, (statement.fields or {}).get("name") or "")
        self.found.described.add(key)
        return self.found.choices.get(key), self.found.float_types.get(key)

    def _signals(self, written: int, signals: list[Statement]) -> list[SignalDef]:
        marks = {f["name"] or "": f["mux"] or "" for s in signals if (f := s.fields)}
        switches = {name for name, mark in marks.items() if mark.endswith("M")}
        top = [name for name in switches if marks[name] == "M"]
        only = next(iter(switches)) if len(switches) == 1 else ""
        for name in marks:
            for statement in self.found.switches.get((written, name), ()):
                switch = (statement.fields or {}).get("switch") or ""
                if switch in marks and switch not in switches:
                    switches.add(switch)
                    self.repair(statement.line, f"{switch} is not marked as a switch; taken as one")
        root = top[0] if len(top) == 1 else ""
        return [self._signal(written, s, only, root, switches) for s in signals]

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
            name=self._long_name(written, name),
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
            is_switch=name in switches,
            multiplexed_by=self._long_name(written, switch),
            multiplex_ids=ranges,
            role=_ROLES.get(role) or _ROLES_BY_NAME.get(name, ""),
        )

    def _long_name(self, written: int, name: str) -> str:
        """Return the name that an editor of short names put into an attribute, if there is one."""
        return self.found.of_signal.get((written, name, "SystemSignalLongSymbol")) or name

    def _choices(self, statement: Statement | None) -> dict[int, str]:
        if statement is None or statement.fields is None:
            return {}
        if table := statement.fields["table"]:
            if table not in self.found.tables:
                self.repair(statement.line, f"no VAL_TABLE_ {table}; dropped")
            return self.found.tables.get(table, {})
        return named_values(statement.fields["pairs"])

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
