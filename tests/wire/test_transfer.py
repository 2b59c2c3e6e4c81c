"""A content arrives whole and once, whatever the link does to its chunks and whoever is killed."""

import random
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from user_lib.contract.clock import SECOND
from user_lib.contract.content import CHUNK_BYTES, Content, chunk_size, content_of
from user_lib.wire import transfer as pull
from user_lib.wire.content_rows import SCHEMA, ContentRows
from user_lib.wire.transfer import CREDIT, Transfer

BYTES = random.Random(5).randbytes(5 * CHUNK_BYTES + 17)
CONTENT = content_of(BYTES)
PICK = st.integers(0, 1000)


class File:
    """An SQLite file with one transaction open, as its owners have it."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        if not self.read("SELECT 1 FROM sqlite_master"):
            self._connection.executescript(SCHEMA)
        self._connection.execute("BEGIN")

    def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def write(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        return self._connection.execute(sql, values).rowcount

    def commit(self) -> None:
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN")

    def close(self) -> None:
        self._connection.close()


def test_no_more_than_the_credit_is_under_way() -> None:
    transfer, asked = pull.poll(pull.begin(CONTENT, 0), 0)
    assert asked == (0, CHUNK_BYTES)
    assert len(asked) == CREDIT
    assert pull.poll(transfer, 0)[1] == ()

    transfer = pull.arrived(transfer, 0, CHUNK_BYTES, 0)

    assert pull.poll(transfer, 0)[1] == (2 * CHUNK_BYTES,)


def test_what_does_not_come_is_asked_for_again_and_ever_less_often() -> None:
    transfer, now_ns, waits = pull.begin(CONTENT, 0), 0, []
    for _ in range(5):
        transfer, asked = pull.poll(transfer, now_ns)
        assert asked == (0, CHUNK_BYTES)
        waits.append((transfer.due_ns - now_ns) // SECOND)
        now_ns = transfer.due_ns
    assert waits == [5, 10, 20, 20, 20]


def test_a_transfer_goes_on_where_it_was() -> None:
    transfer, asked = pull.poll(pull.begin(CONTENT, 3 * CHUNK_BYTES), 0)

    assert asked == (3 * CHUNK_BYTES, 4 * CHUNK_BYTES)
    assert str(transfer) == "content 0.8 of 1.3 MB"


def test_the_last_chunk_is_as_long_as_what_is_left() -> None:
    assert chunk_size(CONTENT, 5 * CHUNK_BYTES) == 17
    almost = pull.begin(CONTENT, 5 * CHUNK_BYTES)
    assert pull.arrived(almost, 5 * CHUNK_BYTES, CHUNK_BYTES, 0) is almost
    assert pull.arrived(almost, 5 * CHUNK_BYTES, 17, 0).whole


def test_after_damage_it_rests_ever_longer_and_begins_anew() -> None:
    transfer = pull.damaged(pull.begin(CONTENT, CONTENT.size), 0)
    assert pull.poll(transfer, 9 * SECOND)[1] == ()
    transfer, asked = pull.poll(transfer, 10 * SECOND)
    assert asked == (0, CHUNK_BYTES)
    assert pull.damaged(transfer, 0).rest_until_ns == 20 * SECOND


@pytest.mark.parametrize("at", [0, 3 * CHUNK_BYTES + 5, len(BYTES) - 1])
def test_bytes_that_are_not_the_content_are_thrown_away(tmp_path: Path, at: int) -> None:
    rows = ContentRows(File(tmp_path / "x.db"))
    wrong = bytearray(BYTES)
    wrong[at] ^= 1
    rows.begin(CONTENT)
    for offset in range(0, CONTENT.size, CHUNK_BYTES):
        assert rows.append(CONTENT, offset, bytes(wrong[offset : offset + CHUNK_BYTES]))

    assert not rows.seal(CONTENT)
    assert not rows.is_whole(CONTENT)
    assert rows.bytes_held() == 0


def test_a_lie_about_the_size_does_not_touch_what_is_whole(tmp_path: Path) -> None:
    rows = ContentRows(File(tmp_path / "x.db"))
    rows.put(CONTENT, BYTES)
    liar = Content(CONTENT.digest, CONTENT.size + 1)

    assert not rows.is_whole(liar)
    assert not rows.append(liar, 0, BYTES[:CHUNK_BYTES])
    assert rows.read(CONTENT.digest) == BYTES


class Exchange(RuleBasedStateMachine):
    """A receiver with its file, a sender that has the bytes, and a link that does as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="oodida-transfer-"))
        self.now_ns = 0
        self.asked: list[int] = []
        self.sent: list[tuple[int, bytes]] = []
        self.on_disk = 0
        self.kept = 0
        """Bytes of chunks that were kept, over all lives of the receiver."""
        self.lost_by_crash = 0
        self.transfer = pull.begin(CONTENT, 0)

    @initialize()
    def begin(self) -> None:
        self.file = File(self.folder / "receiver.db")
        self.rows = ContentRows(self.file)
        self.transfer: Transfer = pull.begin(CONTENT, self.rows.begin(CONTENT))

    @rule(seconds=st.integers(0, 30))
    def poll(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND
        self.transfer, offsets = pull.poll(self.transfer, self.now_ns)
        self.asked += offsets

    @precondition(lambda self: self.asked)
    @rule(pick=PICK, lost=st.booleans(), again=st.booleans())
    def answer(self, pick: int, lost: bool, again: bool) -> None:
        offset = self.asked.pop(pick % len(self.asked))
        if lost:
            return
        chunk = (offset, BYTES[offset : offset + CHUNK_BYTES])
        self.sent += [chunk, chunk] if again else [chunk]

    @precondition(lambda self: self.sent)
    @rule(pick=PICK)
    def arrive(self, pick: int) -> None:
        self.take(*self.sent.pop(pick % len(self.sent)))

    def take(self, offset: int, data: bytes) -> None:
        moved = pull.arrived(self.transfer, offset, len(data), self.now_ns)
        if moved is self.transfer:
            return
        self.transfer = moved
        assert self.rows.append(CONTENT, offset, data)
        self.kept += len(data)
        if moved.whole:
            assert self.rows.seal(CONTENT)

    @rule()
    def commit(self) -> None:
        self.file.commit()
        self.on_disk = self.rows.have(CONTENT.digest)

    @rule()
    def cut_the_link(self) -> None:
        self.asked.clear()
        self.sent.clear()
        self.transfer = pull.interrupted(self.transfer)

    @rule()
    def cut_the_receivers_power(self) -> None:
        self.lost_by_crash += self.rows.have(CONTENT.digest) - self.on_disk
        self.file.close()
        self.file = File(self.folder / "receiver.db")
        self.rows = ContentRows(self.file)
        have = CONTENT.size if self.rows.is_whole(CONTENT) else self.rows.begin(CONTENT)
        assert have == self.on_disk
        self.transfer = pull.begin(CONTENT, have)

    @invariant()
    def what_is_here_is_a_prefix(self) -> None:
        if not hasattr(self, "rows"):
            return
        have = self.rows.have(CONTENT.digest)
        assert have == self.transfer.have
        assert have % CHUNK_BYTES == 0 or have == CONTENT.size

    @invariant()
    def no_chunk_is_kept_twice(self) -> None:
        if hasattr(self, "rows"):
            assert self.kept == self.rows.have(CONTENT.digest) + self.lost_by_crash

    def teardown(self) -> None:
        if hasattr(self, "rows"):
            self.cut_the_link()
            for _ in range(20):
                self.now_ns += 60 * SECOND
                self.transfer, offsets = pull.poll(self.transfer, self.now_ns)
                for offset in offsets:
                    self.take(offset, BYTES[offset : offset + CHUNK_BYTES])
            assert self.rows.read(CONTENT.digest) == BYTES
            self.file.close()
        shutil.rmtree(self.folder)


Exchange.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestExchange = Exchange.TestCase
