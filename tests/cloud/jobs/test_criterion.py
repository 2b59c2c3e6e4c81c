"""The stop criterion on what the off-board method returned."""

import pytest

from cloud.jobs.criterion import MAX_NAMES, names_of, until_met
from user_lib.contract.errors import ExpressionError


def test_a_single_value_is_called_value() -> None:
    assert until_met("value < 0.01", 0.005, 1)
    assert not until_met("value < 0.01", 0.5, 1)


def test_keys_of_a_dict_are_names_dotted_where_nested() -> None:
    value = {"loss": 0.2, "Vehicle.Speed": 61.0, "model": {"bias": 1.5}, "w": [1, 2]}

    assert names_of(value, 4) == {
        "loss": 0.2,
        "Vehicle.Speed": 61.0,
        "model.bias": 1.5,
        "round": 4,
    }
    assert until_met("Vehicle.Speed > 60 and model.bias == 1.5", value, 4)


def test_the_round_itself_is_a_name_that_no_value_hides() -> None:
    assert until_met("round >= 3", {"round": 0}, 3)


def test_a_missing_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ExpressionError, match="'los' has no value"):
        until_met("los < 1", {"loss": 1.0}, 1)


def test_a_huge_value_is_refused_rather_than_searched() -> None:
    with pytest.raises(ExpressionError, match="more than"):
        names_of({str(i): i for i in range(MAX_NAMES + 2)}, 1)
