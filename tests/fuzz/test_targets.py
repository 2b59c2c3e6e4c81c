"""What is fuzzed at length on request is damaged a little here, so that the targets stay true."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import write_seeds
from tests.fuzz.targets import TARGETS

QUICK = sorted(set(TARGETS) - {"mf4"})  # a process for each file: tests/hw/logs damages some


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    contents = {}
    for target in TARGETS:
        (folder / target).mkdir()
        write_seeds(target, folder / target)
        (seed,) = (folder / target).iterdir()
        contents[target] = seed.read_bytes()
    return contents


@pytest.mark.parametrize("target", TARGETS)
def test_a_sound_file_is_usable(target: str, seeds: dict[str, bytes]) -> None:
    if target == "mf4":
        pytest.importorskip("asammdf")
    assert TARGETS[target](seeds[target])


@pytest.mark.parametrize("target", QUICK)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_usable_or_refused_by_name(
    target: str, seeds: dict[str, bytes], data: st.DataObject
) -> None:
    content = seeds[target]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(len(content), start + 40)))
        content = content[:start] + data.draw(st.binary(max_size=12)) + content[stop:]

    TARGETS[target](content)
