"""CAN databases: load, repair with a warning, compile a plan once, decode and encode in batches."""

from dbc.batch import Decoded, DecodedBatch
from dbc.catalog import Catalog, SignalRef
from dbc.decoder import Decoder, DecodeStats, MessageStats
from dbc.encode import Encoder
from dbc.loading import load
from dbc.mapping import Transform
from dbc.model import DatabaseRef, MessageDef, Repair, SignalDef
from dbc.reassembly import Reassembled, Reassembler
from dbc.transport import TransportStats

__all__ = [
    "Catalog",
    "DatabaseRef",
    "DecodeStats",
    "Decoded",
    "DecodedBatch",
    "Decoder",
    "Encoder",
    "MessageDef",
    "MessageStats",
    "Reassembled",
    "Reassembler",
    "Repair",
    "SignalDef",
    "SignalRef",
    "Transform",
    "TransportStats",
    "load",
]
