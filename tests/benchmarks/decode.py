"""Decode speed against cantools and, where a C compiler is there, against table-driven C.

Run ``python -m tests.benchmarks decode``. The database is generated, of the shape of a VW MQB
drivetrain bus: 100 ids, 14 signals a frame. Ratios are medians of paired runs: every round times
all competitors on the same frames, so that a busy machine slows each alike.
"""

import ctypes
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cantools
import numpy as np

from dbc import Catalog, DatabaseRef, Decoder, load
from tests.benchmarks.ratios import Row, cpu_ns, medians
from user_lib.contract.frames import FrameBatch

__all__ = ["frames", "generated_dbc", "run"]

IDS, SIGNALS = 100, 14
ROUNDS = 15
CANTOOLS_FRAMES = 600
WANTED = {256: (12.0, 20.0), 8192: (25.0, 45.0)}
"""By frames a batch: times cantools to be reached at least, and aimed at."""
C_AT, C_MOST, C_AIM = 8192, 4.5, 3.0

C_SOURCE = r"""
#include <stdint.h>
typedef struct { uint8_t shift, length, big, sign; double scale, offset; } sig;
typedef struct { int32_t first, count; } msg;
void decode(const uint32_t *id, const uint64_t *data, long n, const int32_t *by_id, const msg *msgs,
            const sig *sigs, double *out) {
  for (long i = 0; i < n; i++) {
    int32_t m = by_id[id[i] & 0x7FF];
    if (m < 0) continue;
    uint64_t le = data[i], be = __builtin_bswap64(le);
    const sig *s = sigs + msgs[m].first;
    for (int j = 0; j < msgs[m].count; j++, s++) {
      uint64_t raw = ((s->big ? be : le) >> s->shift);
      if (s->length < 64) raw &= (1ULL << s->length) - 1;
      double v = s->sign ? (double)((int64_t)(raw << (64 - s->length)) >> (64 - s->length))
                         : (double)raw;
      *out++ = v * s->scale + s->offset;
    }
  }
}
"""


def generated_dbc(seed: int = 1, payload_bytes: int = 8) -> str:
    """Return a DBC of 100 messages with 14 signals each.

    They fill eight bytes; in a longer payload each begins four bytes after the one before it.
    """
    rng = random.Random(seed)
    lines = ['VERSION "generated"', "", "NS_ :", "", "BS_:", "", "BU_: ECU", ""]
    for number, can_id in enumerate(sorted(rng.sample(range(0x60, 0x7F0), IDS))):
        lines.append(f"BO_ {can_id} Message{number}: {payload_bytes} ECU")
        widths = [4] * SIGNALS
        for _ in range(200):
            i, j = rng.sample(range(SIGNALS), 2)
            if widths[i] > 1 and widths[j] < 16:
                widths[i], widths[j] = widths[i] - 1, widths[j] + 1
        big = number % 8 == 0
        bit = 0
        for column, width in enumerate(widths):
            start = 8 * (bit // 8) + 7 - bit % 8 if big else bit
            sign = "-" if rng.random() < 0.2 else "+"
            scale = rng.choice(["1", "1", "0.5", "0.01", "0.1", "0.0625"])
            offset = rng.choice(["0", "0", "0", "-40", "-100.5"])
            lines.append(
                f" SG_ Signal{column} : {start}|{width}@{0 if big else 1}{sign} "
                f'({scale},{offset}) [0|0] "" ECU'
            )
            bit = bit + width if payload_bytes == 8 else 32 * (column + 1)
        lines.append("")
    return "\n".join(lines)


def frames(catalog: Catalog, n: int, seed: int = 2) -> FrameBatch:
    """Return ``n`` frames of the catalog's messages in random order, with random payloads."""
    rng = np.random.default_rng(seed)
    batch = FrameBatch.zeros(n)
    ids = np.array([m.can_id for m in catalog.messages], np.uint32)
    batch.can_id[:] = rng.choice(ids, n)
    batch.data[:] = rng.integers(0, 256, (n, 8), np.uint8)
    batch.length[:] = 8
    batch.time_ns[:] = np.arange(n) * 250_000
    return batch


def c_decoder(catalog: Catalog) -> Callable[[FrameBatch], object] | None:
    """Return a table-driven decoder in C; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="oodida-bench-"))
    (folder / "decode.c").write_text(C_SOURCE)
    subprocess.run(
        [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", "decode.so", "decode.c"],
        cwd=folder,
        check=True,
    )
    function = ctypes.CDLL(str(folder / "decode.so")).decode
    shutil.rmtree(folder)
    kind = np.dtype(
        [("shift", "u1"), ("length", "u1"), ("big", "u1"), ("sign", "u1"), ("scale", "f8"),
         ("offset", "f8")],
        align=True,
    )  # fmt: skip
    signals, spans = [], []
    by_id = np.full(0x800, -1, np.int32)
    for index, message in enumerate(catalog.messages):
        by_id[message.can_id] = index
        spans.append((len(signals), len(message.signals)))
        for s in message.signals:
            shift = 64 - s.first_bit - s.length if s.big_endian else s.start
            signals.append((shift, s.length, s.big_endian, s.signed, s.scale, s.offset))
    table, span = np.array(signals, kind), np.array(spans, np.int32)

    def run(batch: FrameBatch) -> object:
        out = np.empty((len(batch), SIGNALS))
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (batch.can_id, batch.data)]
        rest = [a.ctypes.data_as(ctypes.c_void_p) for a in (by_id, span, table, out)]
        function(*pointers, ctypes.c_long(len(batch)), *rest)
        return out

    return run


def run() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generated.dbc"
        path.write_text(generated_dbc())
        catalog = load([DatabaseRef(path, "can0")])
        oracle = cantools.database.load_file(path)
    decoder = Decoder(catalog, ["can0"])
    native = c_decoder(catalog)
    for n in (256, 1024, 8192, 65536):
        batch = frames(catalog, n)
        few = [(int(i), d.tobytes()) for i, d in zip(batch.can_id, batch.data, strict=True)]
        few = few[:CANTOOLS_FRAMES]

        def by_cantools(few: list[tuple[int, bytes]] = few) -> None:
            for can_id, data in few:
                oracle.decode_message(can_id, data, decode_choices=False)

        slow, fast = [], []
        for _ in range(ROUNDS):
            ours = cpu_ns(lambda b=batch: decoder.decode_batch(b), n, 0.03)
            slow.append((ours, cpu_ns(by_cantools, len(few), 0.01)))
            if native is not None:
                fast.append((ours, cpu_ns(lambda b=batch: native(b), n, 0.01)))
        least, aim = WANTED.get(n, (None, None))
        what = f"decode, {n} frames a batch"
        ours, theirs, ratio = medians(slow)
        yield Row(what, "cantools", f"{ours:.0f} ns", f"{theirs:.0f} ns", ratio, least, aim)
        if fast:
            ours, theirs, ratio = medians([(b, a) for a, b in fast])
            ours, theirs = theirs, ours
            limits = {"most": C_MOST, "aim": C_AIM} if n == C_AT else {}
            yield Row(
                what, "C, table-driven", f"{ours:.0f} ns", f"{theirs:.0f} ns", ratio, **limits
            )
