"""The raw payloads of every message, as far back as a fixed amount of memory reaches.

All memory is one arena of equal pages, allocated once: its size is held by construction. A ring
that is full takes a free page; when there is none, the page whose rows ended longest ago is used
again, whoever owns it. So all messages reach back equally far in time, however chatty one is, but
for two promises: each message keeps `FLOOR_PAGES` once it has them, and a reservation keeps the
pages it asked for.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.signals.history.marks import Marks
from agent.signals.history.ring import Page, Ring
from agent.signals.history.rows import Rows, row_bytes
from agent.signals.timeline import rising
from user_lib.contract.errors import ConfigError
from user_lib.contract.frames import FrameBatch

__all__ = ["FLOOR_PAGES", "History", "Reservation"]

FLOOR_PAGES = 2
_MIN_PAGE_BYTES, _MAX_PAGE_BYTES = 512, 16 * 1024
_MEGABYTE = 1 << 20
_NARROW = 8
_NEVER_NS = np.iinfo(np.int64).max


class Reservation:
    """Pages that a subscription may count on, by message; see `History.reserve`."""

    __slots__ = ("pages",)

    def __init__(self, pages: Mapping[int, int]) -> None:
        self.pages = dict(pages)

    def holds(self, history: "History", rows: Mapping[int, int]) -> bool:
        """Whether what is promised is enough for the newest ``rows`` of each message."""
        return all(
            self.pages.get(message, 0) >= history.pages_for(message, n)
            for message, n in rows.items()
        )


class History:
    """The rings of all messages of a catalog. One thread writes and reads it.

    ``lengths`` holds the payload length of each message, by its index in the catalog.

    Raises: ConfigError, if ``history_mb`` is too little for that many messages.
    """

    def __init__(self, lengths: Sequence[int], *, history_mb: float) -> None:
        self._strides = [max(_NARROW, -(-length // 8) * 8) for length in lengths]
        budget_bytes = int(history_mb * _MEGABYTE)
        self.page_bytes = self._choose_page(budget_bytes)
        self.total_pages = budget_bytes // self.page_bytes
        self._arena = np.empty((self.total_pages, self.page_bytes), np.uint8)
        self._stride_of = np.array(self._strides, np.int64)
        self._widest = max(self._strides, default=0)
        self._marks = Marks(self._strides, self._arena)
        self._newest_ns = 0
        """No row is younger, but those of messages that no bus carries."""
        self._free = list(range(self.total_pages - 1, -1, -1))
        self._pages = np.zeros(len(self._strides), np.int64)
        self._promise = np.full(len(self._strides), FLOOR_PAGES, np.int64)
        self._ended_ns = np.zeros(len(self._strides), np.int64)
        """When the oldest page of each message ended; of those with two pages or more."""
        self._rings: dict[int, Ring] = {}
        self._reservations: list[Reservation] = []
        self._reserved: dict[int, int] = {}
        self._promised_pages = FLOOR_PAGES * len(self._strides)
        self.overwritten = 0
        """Rows that made way for newer ones."""

    def _choose_page(self, budget_bytes: int) -> int:
        """Return a page size that leaves at least half of the memory for reservations."""
        messages = max(len(self._strides), 1)
        widest = 2 * row_bytes(max(self._strides, default=8))
        least = -(-max(_MIN_PAGE_BYTES, widest) // 64) * 64
        wanted = budget_bytes // (2 * FLOOR_PAGES * messages) // 64 * 64
        if wanted < least:
            need_mb = 2 * FLOOR_PAGES * messages * least / _MEGABYTE
            raise ConfigError(
                f"history_mb: {budget_bytes / _MEGABYTE:.3g} MB are too little for {messages} "
                f"messages; give at least {need_mb:.1f}"
            )
        return max(min(wanted, _MAX_PAGE_BYTES), least)

    @property
    def allocated_bytes(self) -> int:
        """The size of the arena; nothing else holds payloads."""
        return self._arena.nbytes

    @property
    def used_bytes(self) -> int:
        """The part of the arena that is in use."""
        return (self.total_pages - len(self._free)) * self.page_bytes

    @property
    def stepped_back(self) -> int:
        """Rows whose time was behind the row before them."""
        return sum(ring.stepped_back for ring in self._rings.values())

    def depth_ns(self, now_ns: int) -> int:
        """How far back every message that had to make way still reaches."""
        full = [ring.oldest_ns for ring in self._rings.values() if ring.tail > 0]
        seen = [ring.first_ns for ring in self._rings.values() if ring.head > 0]
        since = max((t for t in full if t is not None), default=min(seen, default=now_ns))
        return now_ns - since

    def ring(self, message: int) -> Ring:
        """Return the ring of a message, empty as long as no frame of it was seen."""
        ring = self._rings.get(message)
        if ring is None:
            ring = Ring(message, self._strides[message], self._marks, self._next_page)
            self._rings[message] = ring
        return ring

    def append(
        self, batch: FrameBatch, time_ns: NDArray[np.int64], message: NDArray[np.int32]
    ) -> int:
        """Keep the frames of a batch; ``message`` is what each one is, -1 for none.

        Returns how many are kept.
        """
        shifted = message + 1
        counts = np.bincount(shifted, minlength=len(self._strides) + 1)
        # 16 bits, where they are enough, get numpy's radix sort
        key = shifted.astype(np.uint16) if len(self._strides) < 1 << 16 else shifted
        order = np.argsort(key, kind="stable")[int(counts[0]) :]
        if not len(order):
            return 0
        rows = Rows(
            0,
            time_ns.take(order),
            batch.length.take(order).astype(np.uint16),
            batch.can_id.take(order).astype(np.uint8),  # the low byte
            batch.data.take(order, axis=0),
        )
        in_time = self._newest_ns <= time_ns[0] and rising(time_ns)
        self._newest_ns = int(time_ns[-1]) if in_time else max(self._newest_ns, int(time_ns.max()))
        self._append(rows, message.take(order), counts[1:], in_time=in_time)
        return len(order)

    def _append(
        self, rows: Rows, message: NDArray[np.int32], counts: NDArray[np.intp], *, in_time: bool
    ) -> None:
        """Write rows, ordered by message, at once but for those that need care of their own.

        These are of messages whose page is full, whose payloads need padding, or whose times step
        back.
        """
        first = np.cumsum(counts) - counts
        apart = counts > self._marks.room
        if rows.data.shape[1] < self._widest:
            apart |= (self._stride_of > rows.data.shape[1]) & (counts > 0)
        if not in_time:
            apart |= self._steps_back(rows, message, counts, first)
        alone = np.flatnonzero(apart).tolist()
        for one in alone:
            self.ring(one).append(rows.part(int(first[one]), int(first[one] + counts[one])))
        if alone:
            rest = ~apart.take(message)
            rows, message = rows.chosen(rest), message[rest]
            counts = np.where(apart, 0, counts)
            first = np.cumsum(counts) - counts
        if len(message):
            self._marks.write(rows, message, counts, first)

    def _steps_back(
        self,
        rows: Rows,
        message: NDArray[np.int32],
        counts: NDArray[np.intp],
        first: NDArray[np.intp],
    ) -> NDArray[np.bool_]:
        """Tell of each message whether the time of any of its rows is behind the row before it."""
        back = np.zeros(len(message), np.bool_)
        back[1:] = rows.time_ns[1:] < rows.time_ns[:-1]
        met = np.flatnonzero(counts)
        back[first[met]] = rows.time_ns[first[met]] < self._marks.latest_ns[met]
        return np.bincount(message[back], minlength=len(counts)) > 0

    def append_long(self, message: int, time_ns: int, source: int, payload: bytes) -> None:
        """Keep a payload that was put together from several frames."""
        rows = Rows(
            0,
            np.array([time_ns], np.int64),
            np.array([len(payload)], np.uint16),
            np.array([source], np.uint8),
            np.frombuffer(payload, np.uint8)[None, :],
        )
        self.ring(message).append(rows)
        self._newest_ns = max(self._newest_ns, time_ns)

    def read(self, message: int, start: int, stop: int) -> Rows:
        """Return the rows ``start <= number < stop`` of a message that are kept."""
        return self.ring(message).read(start, stop)

    # --- pages ----------------------------------------------------------------------------------

    def _promised(self, message: int) -> int:
        return int(self._promise[message])

    def _next_page(self, ring: Ring) -> Page:
        slot = self._free.pop() if self._free else self._take_from(self._oldest(ring))
        self._note_pages(ring, 1)
        return Page(slot, self._arena[slot], ring.stride, ring.head)

    def _take_from(self, ring: Ring) -> int:
        self.overwritten += ring.oldest_page_rows
        slot = ring.drop_oldest()
        self._note_pages(ring, -1)
        return slot

    def _note_pages(self, ring: Ring, more: int) -> None:
        self._pages[ring.message] += more
        if ring.pages:
            self._ended_ns[ring.message] = ring.oldest_page_ended_ns

    def _oldest(self, asking: Ring) -> Ring:
        """Return the ring whose oldest page ended longest ago, of those that may lose one.

        One that has what it was promised may always lose a page to itself.
        """
        may_lose = self._pages > self._promise
        mine = asking.message
        may_lose[mine] = self._pages[mine] >= self._promise[mine]
        if not may_lose.any():
            return asking
        return self._rings[int(np.argmin(np.where(may_lose, self._ended_ns, _NEVER_NS)))]

    # --- reservations ---------------------------------------------------------------------------

    def pages_for(self, message: int, rows: int) -> int:
        """How many pages hold ``rows`` rows of a message, wherever in a page they begin."""
        rows_a_page = self.page_bytes // row_bytes(self._strides[message])
        return -(-rows // rows_a_page) + 1

    def spare_pages(self, messages: Sequence[int] = ()) -> int:
        """How many pages are promised to nobody, not counting what ``messages`` already have."""
        promised = self._promised_pages - sum(self._promised(m) for m in set(messages))
        return self.total_pages - promised

    def fits(self, rows: Mapping[int, int]) -> bool:
        """Whether room for the newest ``rows`` of each message can be promised."""
        pages = {message: self.pages_for(message, n) for message, n in rows.items()}
        needed = sum(max(n, self._promised(message)) for message, n in pages.items())
        return needed <= self.spare_pages(tuple(pages))

    def reserve(self, rows: Mapping[int, int]) -> Reservation | None:
        """Promise room for the newest ``rows`` of each message; None if that does not fit.

        Promises for one message are not added up: all count from its newest row.
        """
        if not self.fits(rows):
            return None
        reservation = Reservation({m: self.pages_for(m, n) for m, n in rows.items()})
        self._reservations.append(reservation)
        self._sum_up()
        return reservation

    def release(self, reservation: Reservation) -> None:
        """Take a promise back."""
        self._reservations.remove(reservation)
        self._sum_up()

    def _sum_up(self) -> None:
        self._reserved.clear()
        for reservation in self._reservations:
            for message, pages in reservation.pages.items():
                self._reserved[message] = max(pages, self._reserved.get(message, 0))
        floors = FLOOR_PAGES * (len(self._strides) - len(self._reserved))
        self._promise[:] = FLOOR_PAGES
        for message, pages in self._reserved.items():
            self._promise[message] = max(FLOOR_PAGES, pages)
        self._promised_pages = floors + sum(map(self._promised, self._reserved))
