from typing import Any

import numpy as np
import pytest

from user_lib.columns import columns_of_results, columns_of_rounds
from user_lib.contract.messages import Group
from user_lib.results import Round, VehicleResult

A, B = "a" * 64, "b" * 64


def test_numbers_become_columns_and_failures_no_rows(make: Any) -> None:
    results = [
        VehicleResult(make.result("v1", 1, {"a": 1, "b": {"c": 2.5}})),
        VehicleResult(make.result("v1", 2, None, status="error")),
        VehicleResult(make.result("v2", 1, {"a": 3})),
    ]

    columns = columns_of_results(results)

    assert columns["vehicle"].tolist() == ["v1", "v2"]
    assert columns["iteration"].tolist() == [1, 1]
    assert columns.names == ("a", "b.c")
    np.testing.assert_array_equal(columns.matrix(), [[1.0, 2.5], [3.0, np.nan]])


def test_bare_numbers_and_lists_have_their_documented_shapes(make: Any) -> None:
    bare = columns_of_results([VehicleResult(make.result("v", 1, 4.0))])
    even = columns_of_results(
        [VehicleResult(make.result("v", i, {"h": [i, i + 1]})) for i in (1, 2)]
    )
    ragged = columns_of_results(
        [VehicleResult(make.result("v", i, {"h": [0.5] * i})) for i in (1, 2)]
    )

    assert bare["value"].tolist() == [4.0]
    assert even["h"].tolist() == [[1.0, 2.0], [2.0, 3.0]]
    assert [c.tolist() for c in ragged["h"]] == [[0.5], [0.5, 0.5]]


def test_no_results_are_empty_columns() -> None:
    columns = columns_of_results([])

    assert columns.rows == 0
    assert columns.matrix().shape == (0, 0)
    with pytest.raises(KeyError, match="no column 'x'; there are vehicle"):
        columns["x"]


def test_rounds_have_a_row_for_each_aggregate(make: Any) -> None:
    groups = (
        Group(code_version=A, vehicles=("v1", "v2"), value=1.0),
        Group(code_version=B, vehicles=("v3",), value=2.0),
    )

    columns = columns_of_rounds([Round(make.round_closed(1, None, groups=groups))])

    assert columns["vehicle"].tolist() == ["v1 v2", "v3"]
    assert columns["code_version"].tolist() == [A, B]
    assert columns["value"].tolist() == [1.0, 2.0]
