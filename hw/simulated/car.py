"""A simulated car: a seeded drive, or one after a speed table, as the frames its buses would carry.

The one part of `hw` that knows databases, for it encodes with them. For a seed everything repeats
exactly, jitter included; the two models send different frames about the same drive.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dbc import Catalog, DatabaseRef, Encoder, MessageDef, load
from hw.simulated.drive import CHUNK_S, Drive, Quantities
from hw.simulated.itinerary import Itinerary, TableProfile
from hw.simulated.models import MODELS, CarModel, Formula, Sampled
from hw.simulated.speed_table import SpeedTable
from user_lib.contract.clock import SECOND
from user_lib.contract.errors import SourceError, nearest
from user_lib.contract.frames import BRS, EXTENDED, FD, MAX_PAYLOAD, FrameBatch

__all__ = ["MODELS", "SimulatedDrive", "model_databases", "model_mapping", "simulate"]

_CHUNK_NS = round(CHUNK_S * SECOND)
_MS = 1_000_000
_PHASE_NS = 83_000
"""Messages of one cycle time leave one after the other, this far apart."""
_JITTER_US = 180


@dataclass(frozen=True)
class _Car:
    catalog: Catalog
    encoder: Encoder
    channels: tuple[str, ...]


def model_databases(model: str) -> tuple[DatabaseRef, ...]:
    """Return the databases of a demo car, with the channels on which they are spoken.

    Raises: SourceError, for a model that there is not.
    """
    return tuple(
        DatabaseRef(path=_shipped(name), channel=channel)
        for channel, name in _model(model).databases.items()
    )


def model_mapping(model: str) -> Path:
    """Return the VSS mapping of a demo car. Raises: SourceError, for a model that there is not."""
    return _shipped(_model(model).mapping)


def _shipped(name: str) -> Path:
    return Path(str(files("dbc").joinpath("files", name)))


def _model(model: str) -> CarModel:
    try:
        return MODELS[model]
    except KeyError:
        near = nearest(model, MODELS) or tuple(MODELS)
        raise SourceError(
            f"no simulated model {model!r}; did you mean {' or '.join(near)}?"
        ) from None


@cache
def _car(model: str) -> _Car:
    """Load a model's databases, once a process."""
    catalog = load(model_databases(model))
    return _Car(catalog, Encoder(catalog), tuple(_model(model).databases))


class SimulatedDrive:
    """A drive of one demo car as frames, in time order; every iteration is the same drive anew.

    Without ``duration_s`` it goes on for ever, or to the speed table's last row.
    """

    def __init__(
        self,
        model: str,
        *,
        seed: int = 0,
        speed_table: SpeedTable | None = None,
        duration_s: float | None = None,
        start_ns: int = 0,
    ) -> None:
        """``start_ns``: the time of the drive's start. Raises: SourceError, for no such model."""
        self._car_model = _model(model)
        self._car = _car(model)
        self._seed, self._table = seed, speed_table
        if duration_s is None and speed_table is not None:
            duration_s = speed_table.duration_s
        self._duration_ns = None if duration_s is None else round(duration_s * SECOND)
        self._start_ns = start_ns
        self.channels = self._car.channels
        self.malformed = 0

    def __iter__(self) -> Iterator[FrameBatch]:
        """Yield the frames of `CHUNK_S` of driving at a time."""
        profile = Itinerary(self._seed) if self._table is None else TableProfile(self._table)
        drive = Drive(profile, self._seed)
        jitter = np.random.default_rng([self._seed, 3])
        chunk = 0
        while self._duration_ns is None or chunk * _CHUNK_NS < self._duration_ns:
            batch = self._frames(drive.chunk(), chunk * _CHUNK_NS, jitter)
            if self._duration_ns is not None and batch.time_ns[-1] >= self._duration_ns:
                batch = batch.take(batch.time_ns < self._duration_ns)
            batch.time_ns[:] += self._start_ns
            yield batch
            chunk += 1

    def _frames(
        self, quantities: Quantities, begin_ns: int, jitter: np.random.Generator
    ) -> FrameBatch:
        parts = [
            self._frames_of(message, quantities, _sent_ns(message, row, begin_ns, jitter))
            for row, message in enumerate(self._car.catalog.messages)
        ]
        batch = FrameBatch.concatenate(parts)
        return batch.take(np.argsort(batch.time_ns, kind="stable"))

    def _frames_of(
        self, message: MessageDef, quantities: Quantities, time_ns: NDArray[np.int64]
    ) -> FrameBatch:
        """Encode one message at the moments when it is sent."""
        index = time_ns // _cycle_ns(message)
        sampled = Sampled(quantities, time_ns / SECOND, index)
        formulas = self._car_model.signals[message.name]
        values = {name: _value(formula, sampled) for name, formula in formulas.items()}
        encoder = self._car.encoder
        payload = encoder.encode(message.name, values)
        payload = encoder.protect(message.name, payload, first_count=int(index[0]))
        batch = FrameBatch.zeros(len(time_ns), 8 if message.length <= 8 else MAX_PAYLOAD)
        batch.data[:, : message.length] = payload
        batch.time_ns[:] = time_ns
        batch.bus[:] = self.channels.index(message.channel or self.channels[0])
        batch.can_id[:] = message.can_id
        batch.flags[:] = (EXTENDED if message.extended else 0) | (FD | BRS if message.fd else 0)
        batch.length[:] = message.length
        return batch


def simulate(
    model: str, seed: int, duration_s: float, *, speed_table: SpeedTable | None = None
) -> SimulatedDrive:
    """Return a drive of ``duration_s`` seconds from time 0 on, to be iterated or written to a log.

    Raises: SourceError, for a model that there is not.
    """
    return SimulatedDrive(model, seed=seed, speed_table=speed_table, duration_s=duration_s)


def _value(formula: Formula, sampled: Sampled) -> NDArray[np.float64]:
    return sampled[formula] if isinstance(formula, str) else formula(sampled)


def _cycle_ns(message: MessageDef) -> int:
    return round((message.cycle_time_ms or 1000) * _MS)


def _sent_ns(
    message: MessageDef, row: int, begin_ns: int, jitter: np.random.Generator
) -> NDArray[np.int64]:
    """Return when a message is sent within the chunk: its cycle, its phase, a little jitter.

    Phase and jitter stay below the shortest cycle, so no frame leaves its chunk.
    """
    cycle_ns = _cycle_ns(message)
    first, last = -(-begin_ns // cycle_ns), -(-(begin_ns + _CHUNK_NS) // cycle_ns)
    late_us = jitter.integers(0, _JITTER_US, last - first)
    return np.arange(first, last) * cycle_ns + row * _PHASE_NS + late_us * 1_000
