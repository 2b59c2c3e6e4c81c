from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from dbc import Catalog, DatabaseRef, load
from user_lib.contract.frames import FrameBatch

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
HEADER = 'VERSION ""\n\nNS_ :\n\nBS_:\n\nBU_: A B\n\n'

Frame = tuple[int, int, int, bytes]
"""bus, id, flags, payload"""


def batch_of(frames: Sequence[Frame], stride: int = 8) -> FrameBatch:
    batch = FrameBatch.zeros(len(frames), stride)
    for row, (bus, can_id, flags, payload) in enumerate(frames):
        batch.time_ns[row] = row * 1_000_000
        batch.bus[row], batch.can_id[row], batch.flags[row] = bus, can_id, flags
        batch.length[row] = len(payload)
        batch.data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
    return batch


@pytest.fixture
def frames() -> Callable[..., FrameBatch]:
    return batch_of


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the recorded data are not here")
    return SHARED


@pytest.fixture
def demo_files() -> Path:
    return ROOT / "dbc" / "files"


@pytest.fixture
def catalog_of(tmp_path: Path) -> Callable[..., Catalog]:
    """Write a DBC's statements below a sound header and load them."""

    def make(body: str, *, channel: str | None = None, strict: bool = False) -> Catalog:
        path = tmp_path / "written.dbc"
        path.write_text(HEADER + body)
        return load([DatabaseRef(path, channel)], strict=strict)

    return make
