import math
from pathlib import Path

import numpy as np
import pytest

from user_lib import Result
from user_lib.code.source import source_of
from user_lib.contract.errors import CodeError

LIMIT = 3


def ran(source: str, *args: object) -> object:
    space: dict[str, object] = {}
    exec(compile(source, "module", "exec"), space)  # noqa: S102 - our own source
    return space["custom"](*args)  # type: ignore[operator]


def test_a_path_and_its_text_give_the_same_source(tmp_path: Path) -> None:
    text = "def custom(xs):\n    return sum(xs)\n"
    path = tmp_path / "mine.py"
    path.write_text(text)

    assert source_of(path) == source_of(str(path)) == source_of(text) == text


def test_a_function_becomes_a_module_with_the_imports_it_uses() -> None:
    def spread(xs):  # noqa: ANN001, ANN202
        return float(np.max(xs) - np.min(xs)) + math.floor(0.5)

    assert ran(source_of(spread), np.array([1.0, 5.0])) == 4.0


def test_a_function_named_custom_is_called_with_data_and_params() -> None:
    def custom(data, params):  # noqa: ANN001, ANN202
        return Result(data["a"] + params["b"], state=1)

    assert ran(source_of(custom), {"a": 1}, {"b": 2}) == Result(3, 1)


def test_a_function_that_needs_what_stays_here_is_refused() -> None:
    inner = 7

    def closes_over(xs):  # noqa: ANN001, ANN202
        return inner

    def uses_a_global(xs):  # noqa: ANN001, ANN202
        return LIMIT

    with pytest.raises(CodeError, match="uses inner of the function around it"):
        source_of(closes_over)
    with pytest.raises(CodeError, match="uses LIMIT, a int of its module"):
        source_of(uses_a_global)
    with pytest.raises(CodeError, match="is not a function written with def"):
        source_of(lambda xs: xs)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(CodeError, match=r"nowhere\.py: cannot be read: No such file"):
        source_of("nowhere.py")


def test_what_the_vehicle_would_refuse_is_refused_here() -> None:
    with pytest.raises(CodeError, match="line 1: import of 'socket' is not allowed"):
        source_of("import socket\ndef custom(xs):\n    return 1\n")


def test_an_empty_text_is_not_taken_for_a_file() -> None:
    with pytest.raises(CodeError, match="text of the module is empty"):
        source_of("")


def test_a_syntax_error_quotes_the_line() -> None:
    with pytest.raises(CodeError, match=r"line 1: .*expected ':': 'def custom\(xs\)'"):
        source_of("def custom(xs)\n    return 1\n")
