"""CAN databases: load, repair with a warning, compile a plan once, decode and encode in batches."""

from dbc.catalog import Catalog, SignalRef
from dbc.loading import load
from dbc.mapping import Transform
from dbc.model import DatabaseRef, MessageDef, Repair, SignalDef

__all__ = [
    "Catalog",
    "DatabaseRef",
    "MessageDef",
    "Repair",
    "SignalDef",
    "SignalRef",
    "Transform",
    "load",
]
