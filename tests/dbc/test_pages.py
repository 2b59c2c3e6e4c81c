"""Frames with an unknown multiplexer value are those that cantools refuses to decode."""

import cantools
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dbc import Catalog, Decoder
from dbc.pages import has_unknown_page
from dbc.parsing.dbcfile import parse_dbc

TEXT = """VERSION ""

BS_:

BU_: A

BO_ 1 Simple: 4 A
 SG_ Page M : 0|3@1+ (1,0) [0|0] "" A
 SG_ Plain : 8|8@1+ (1,0) [0|0] "" A
 SG_ One m1 : 16|8@1+ (1,0) [0|0] "" A
 SG_ Two m2 : 16|16@1+ (1,0) [0|0] "" A

BO_ 2 Nested: 4 A
 SG_ Outer M : 7|2@0+ (1,0) [0|0] "" A
 SG_ Inner m1M : 15|2@0+ (1,0) [0|0] "" A
 SG_ Deep m2 : 23|8@0+ (1,0) [0|0] "" A
 SG_ Other m2 : 23|8@0+ (1,0) [0|0] "" A

BO_ 3 Plain: 4 A
 SG_ S : 0|3@1+ (1,0) [0|0] "" A

VAL_ 1 Page 5 "Empty" ;
SG_MUL_VAL_ 2 Inner Outer 1-1;
SG_MUL_VAL_ 2 Deep Inner 2-3;
SG_MUL_VAL_ 2 Other Outer 2-2;
"""
MESSAGES, REPAIRS = parse_dbc(TEXT, "x.dbc")
ORACLE = cantools.database.load_string(TEXT, "dbc")


@settings(max_examples=300, deadline=None)
@given(message=st.sampled_from(range(3)), payload=st.binary(max_size=4))
def test_a_frame_has_an_unknown_page_if_cantools_refuses_it(message: int, payload: bytes) -> None:
    decoder = Decoder(Catalog(MESSAGES), [""])
    data = np.frombuffer(payload.ljust(8, b"\0"), np.uint8)[None, :]
    values = decoder.decode(message, data, np.array([len(payload)]))
    try:
        ORACLE.decode_message(
            MESSAGES[message].can_id, payload, decode_choices=False, allow_truncated=True
        )
        refused = False
    except cantools.database.DecodeError:
        refused = True

    assert has_unknown_page(decoder.messages[message], data, values).tolist() == [refused]
    assert REPAIRS == ()
