"""The fuzz targets of the links hold for a bounded number of inputs; more by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.links import LINK_TARGETS
from tests.fuzz.messages import CODECS, SEEDS


@pytest.mark.parametrize("target", sorted(LINK_TARGETS))
@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60))
def test_no_message_gets_more_than_a_refusal(target: str, data: bytes) -> None:
    LINK_TARGETS[target](data)


def test_every_kind_of_message_is_among_the_seeds() -> None:
    for kind in ("from_vehicle", "to_vehicle"):
        union = CODECS[kind]._decoder.type
        assert {type(seed) for seed in SEEDS[kind]} == set(union.__args__)
