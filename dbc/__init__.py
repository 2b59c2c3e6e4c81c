"""CAN databases: load, repair with a warning, compile a plan once, decode and encode in batches."""

from dbc.catalog import Catalog, SignalRef
from dbc.decoding.batch import Decoded, DecodedBatch
from dbc.decoding.decoder import Decoder, DecodeStats, MessageStats
from dbc.encode import Encoder
from dbc.loading import load
from dbc.mapping import Transform
from dbc.model import DatabaseRef, MessageDef, Repair, SignalDef
from dbc.transport.protocols import TransportStats
from dbc.transport.reassembly import Reassembled, Reassembler

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
