"""One message's raw payloads, numbered from 0 in the order of arrival, in pages of the arena."""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agent.signals.history.marks import Marks
from agent.signals.history.rows import Rows, row_bytes

__all__ = ["Page", "Ring"]


class Page:
    """A block of the arena, seen as the columns of consecutive rows: times, payloads, the rest."""

    __slots__ = ("data", "first", "length", "rows", "slot", "source", "time_ns")

    def __init__(self, slot: int, memory: NDArray[np.uint8], stride: int, first: int) -> None:
        self.slot, self.first = slot, first
        self.rows = rows = len(memory) // row_bytes(stride)
        self.time_ns = memory[: 8 * rows].view(np.int64)
        self.data = memory[8 * rows : (8 + stride) * rows].reshape(rows, stride)
        self.length = memory[(8 + stride) * rows : (10 + stride) * rows].view(np.uint16)
        self.source = memory[(10 + stride) * rows : (11 + stride) * rows]

    def view(self, start: int, stop: int) -> Rows:
        """Return the rows ``start <= number < stop`` that this page has, without a copy."""
        which = slice(max(start - self.first, 0), min(stop - self.first, self.rows))
        return Rows(
            self.first + which.start,
            self.time_ns[which],
            self.length[which],
            self.source[which],
            self.data[which],
        )


class Ring:
    """The newest rows of one message, sorted by time.

    A row whose time is behind the row before it is given that one's time, and counted.

    ``next_page`` gives a fresh page, perhaps the ring's own oldest one (see `drop_oldest`).
    """

    def __init__(
        self, message: int, stride: int, marks: Marks, next_page: "Callable[[Ring], Page]"
    ) -> None:
        self.message, self.stride = message, stride
        self.pages: deque[Page] = deque()
        self.first_ns = 0
        """The time of row 0; meaningless before it."""
        self.stepped_back = 0
        self._marks = marks
        self._next_page = next_page

    @property
    def head(self) -> int:
        """The number of the row that comes next; so, how many there have been."""
        return int(self._marks.head[self.message])

    @property
    def latest_ns(self) -> int:
        """The time of the newest row; 0 before there is one."""
        return int(self._marks.latest_ns[self.message])

    @property
    def tail(self) -> int:
        """The number of the oldest row kept; so, how many were overwritten."""
        return self.pages[0].first if self.pages else self.head

    @property
    def oldest_ns(self) -> int | None:
        """The time of the oldest row kept."""
        return int(self.pages[0].time_ns[0]) if self.pages else None

    @property
    def oldest_page_rows(self) -> int:
        """How many rows the oldest page holds."""
        return min(self.pages[0].rows, self.head - self.tail)

    @property
    def oldest_page_ended_ns(self) -> int:
        """The time of the last row of the oldest page."""
        return int(self.pages[0].time_ns[self.oldest_page_rows - 1])

    @property
    def rate_hz(self) -> float | None:
        """Rows a second over what is kept; None when that is too little to tell."""
        rows, oldest_ns = self.head - self.tail, self.oldest_ns
        if rows < 2 or oldest_ns is None or oldest_ns == self.latest_ns:
            return None
        return (rows - 1) * 1e9 / (self.latest_ns - oldest_ns)

    def append(self, rows: Rows) -> None:
        """Add rows (their ``start`` is passed over); payloads are cut or padded to the stride."""
        marks, message = self._marks, self.message
        if self.head == 0:
            self.first_ns = int(rows.time_ns[0])
            marks.latest_ns[message] = self.first_ns
        rising = np.maximum.accumulate(np.maximum(rows.time_ns, self.latest_ns))
        self.stepped_back += int(np.count_nonzero(rising != rows.time_ns))
        done, n = 0, len(rising)
        while done < n:
            page = self.pages[-1] if self.pages else None
            room = int(marks.room[message])
            if page is None or not room:
                page = self._next_page(self)
                self.pages.append(page)
                room = page.rows
                marks.open_page(message, page.slot, room)
            taken = min(room, n - done)
            self._fill(page, page.rows - room, rows, rising, slice(done, done + taken))
            done += taken
            marks.advance(message, taken)
        marks.latest_ns[message] = rising[-1]

    def _fill(
        self, page: Page, at: int, rows: Rows, time_ns: NDArray[np.int64], which: slice
    ) -> None:
        to = slice(at, at + which.stop - which.start)
        width = min(self.stride, rows.data.shape[1])
        page.time_ns[to] = time_ns[which]
        np.minimum(rows.length[which], width, out=page.length[to])
        page.source[to] = rows.source[which]
        page.data[to, :width] = rows.data[which, :width]
        page.data[to, width:] = 0

    def drop_oldest(self) -> int:
        """Forget the oldest page and return its slot of the arena."""
        return self.pages.popleft().slot

    def seq_at(self, time_ns: int) -> int:
        """Return the number of the first row with ``t >= time_ns`` (of the next row, if none).

        Of a row that was overwritten the number is reckoned from the rate; exact for row 0.
        """
        oldest_ns = self.oldest_ns
        if oldest_ns is None:
            return self.head
        if time_ns <= oldest_ns and self.tail > 0:
            return self._reckon(time_ns, oldest_ns)
        low, high = 0, len(self.pages)
        while high - low > 1:  # the last page whose first row is older than time_ns
            middle = (low + high) // 2
            if self.pages[middle].time_ns[0] < time_ns:
                low = middle
            else:
                high = middle
        page = self.pages[low]
        used = page.time_ns[: self.head - page.first]
        return page.first + int(np.searchsorted(used, time_ns))

    def _reckon(self, time_ns: int, oldest_ns: int) -> int:
        if time_ns <= self.first_ns:
            return 0
        span_ns = max(oldest_ns - self.first_ns, 1)
        return self.tail - round(self.tail * min((oldest_ns - time_ns) / span_ns, 1.0))

    def read(self, start: int, stop: int) -> Rows:
        """Return the rows ``start <= number < stop`` that are kept; a view where one page has all.

        The view changes when its page is used again: decode it before anything is appended.
        """
        start, stop = max(start, self.tail), min(stop, self.head)
        if start >= stop:
            return Rows.none(start, self.stride)
        parts = [page.view(start, stop) for page in self._pages_between(start, stop)]
        if len(parts) == 1:
            return parts[0]
        return Rows(
            start,
            np.concatenate([part.time_ns for part in parts]),
            np.concatenate([part.length for part in parts]),
            np.concatenate([part.source for part in parts]),
            np.concatenate([part.data for part in parts]),
        )

    def _pages_between(self, start: int, stop: int) -> list[Page]:
        rows = self.pages[0].rows  # every page but the last is full
        first = (start - self.tail) // rows
        last = (stop - 1 - self.tail) // rows
        return [self.pages[i] for i in range(first, last + 1)]
