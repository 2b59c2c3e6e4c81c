"""What a vehicle must not lose, in one SQLite file: tasks, code slots, the outbox, the epoch."""

from agent.store.database import StateDamaged, StateUnwritable
from agent.store.store import Entry, Kept, Origin, Store
from agent.store.writes import (
    Acknowledge,
    EndTask,
    Enqueue,
    Note,
    Retract,
    SaveAccount,
    SavePosition,
    SaveSlot,
    SaveTask,
    Tell,
    Write,
)

__all__ = [
    "Acknowledge",
    "EndTask",
    "Enqueue",
    "Entry",
    "Kept",
    "Note",
    "Origin",
    "Retract",
    "SaveAccount",
    "SavePosition",
    "SaveSlot",
    "SaveTask",
    "StateDamaged",
    "StateUnwritable",
    "Store",
    "Tell",
    "Write",
]
