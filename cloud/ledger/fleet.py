"""Vehicles that were ever seen, and the signals behind their databases."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from cloud.ledger.database import Database
from user_lib.contract.ids import VehicleId
from user_lib.contract.messages import Hello, SignalInfo

__all__ = ["Fleet", "VehicleRow"]


@dataclass(frozen=True, slots=True)
class VehicleRow:
    """A vehicle as it last introduced itself."""

    hello: Hello
    last_seen_ns: int


class Fleet:
    """The ledger's part on vehicles and catalogs."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._hellos = msgspec.msgpack.Decoder(Hello)
        self._signals = msgspec.msgpack.Decoder(tuple[SignalInfo, ...])

    def vehicles(self) -> list[VehicleRow]:
        """Return every vehicle that was ever seen."""
        rows = self._db.read("SELECT hello, last_seen_ns FROM vehicles ORDER BY vehicle_id")
        return [VehicleRow(self._hellos.decode(hello), seen) for hello, seen in rows]

    def put(self, hello: Hello, seen_ns: int) -> None:
        """Keep how a vehicle introduced itself."""
        self._db.write(
            "INSERT INTO vehicles (vehicle_id, hello, last_seen_ns) VALUES (?, ?, ?)"
            " ON CONFLICT (vehicle_id) DO UPDATE SET hello = excluded.hello,"
            " last_seen_ns = excluded.last_seen_ns",
            (hello.vehicle_id, msgspec.msgpack.encode(hello), seen_ns),
        )

    def seen(self, rows: Iterable[tuple[VehicleId, int]]) -> None:
        """Keep when vehicles were last heard of."""
        self._db.write_many(
            "UPDATE vehicles SET last_seen_ns = ? WHERE vehicle_id = ?",
            [(seen_ns, vehicle) for vehicle, seen_ns in rows],
        )

    def has_catalog(self, dbc_hash: str) -> bool:
        """Whether the signals behind a hash are known."""
        found = self._db.read_one("SELECT 1 FROM catalogs WHERE dbc_hash = ?", (dbc_hash,))
        return found is not None

    def catalog(self, dbc_hash: str) -> tuple[SignalInfo, ...] | None:
        """Return the signals behind a hash; None when they are not known."""
        row = self._db.read_one("SELECT body FROM catalogs WHERE dbc_hash = ?", (dbc_hash,))
        return None if row is None else self._signals.decode(row[0])

    def put_catalog(self, dbc_hash: str, signals: tuple[SignalInfo, ...]) -> None:
        """Keep the signals behind a hash; the first ones given stay."""
        self._db.write(
            "INSERT OR IGNORE INTO catalogs (dbc_hash, body) VALUES (?, ?)",
            (dbc_hash, msgspec.msgpack.encode(signals)),
        )
