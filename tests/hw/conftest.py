"""What the tests of hw share: recorded data, and logs spelled out in text."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from user_lib.contract.frames import FrameBatch

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture
def data() -> Path:
    """The folder of recorded drives; without it, the test is skipped."""
    if not DATA.is_dir():
        pytest.skip("the recorded drives are not here")
    return DATA


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a log of this name and text; ``.gz`` is compressed."""

    def write_file(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        content = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write_file


class FakeClock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, monotonic_ns: int = 5_000_000_000, unix_ns: int = 10**18) -> None:
        self.now_ns, self.wall_ns = monotonic_ns, unix_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    def unix_ns(self) -> int:
        return self.wall_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        self.wall_ns += round(seconds * 1e9)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Frames:
    """Something to play: frames at the times given, cut into batches of the size given."""

    def __init__(self, times_s: list[float], *, size: int = 3, bus: int = 0) -> None:
        self.channels = ("can0",)
        self.malformed = 0
        self._times_s, self._size, self._bus = times_s, size, bus

    def __iter__(self):  # noqa: ANN204
        for start in range(0, len(self._times_s), self._size):
            times = self._times_s[start : start + self._size]
            batch = FrameBatch.zeros(len(times))
            batch.time_ns[:] = np.round(np.array(times) * 1e9)
            batch.can_id[:] = np.arange(start, start + len(times))
            batch.bus[:] = self._bus
            yield batch


@pytest.fixture
def frames() -> type[Frames]:
    return Frames
