"""Which methods let single values out: the table that an owner's rules go by holds."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from agent.sandbox.methods import registry
from agent.sandbox.methods.disclosure import DISCLOSURE, shares_raw
from agent.sandbox.methods.method import Prior
from user_lib.contract.assignment import ONBOARD_METHODS
from user_lib.contract.window import Window

VALUES = np.array([3.25, 17.5, -8.125, 41.0, 12.75, 9.875, -2.5, 33.625, 5.0625, 21.1875])


def numbers(value: Any) -> Iterator[float]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from numbers(inner)
                try:
                    yield float(key)
                except ValueError:
                    continue
        case list() | tuple():
            for inner in value:
                yield from numbers(inner)
        case int() | float():
            yield float(value)


def test_every_built_in_method_is_classified_with_its_reason() -> None:
    assert set(DISCLOSURE) == set(ONBOARD_METHODS)
    assert all(d.why for d in DISCLOSURE.values())


def test_what_is_not_in_the_table_counts_as_raw() -> None:
    assert shares_raw("custom")
    assert shares_raw("external:model")


@pytest.mark.parametrize("name", [n for n, d in DISCLOSURE.items() if not d.raw])
def test_nothing_that_leaves_an_aggregate_is_a_sample(name: str) -> None:
    window = Window({"x": VALUES}, {"x": np.arange(len(VALUES))}, 0, len(VALUES))
    method = registry.onboard(name)

    out = method.compute(window, method.check({}), Prior())

    told = set(numbers(out.value)) | set(numbers(out.partial)) | set(numbers(out.state))
    assert told
    assert told.isdisjoint(VALUES.tolist())
