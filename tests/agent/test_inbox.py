import select
import threading

from agent.inbox import Inbox


def readable(inbox: Inbox[int]) -> bool:
    return bool(select.select([inbox.fd], [], [], 0)[0])


def test_it_is_readable_while_something_waits() -> None:
    inbox: Inbox[int] = Inbox()
    assert not readable(inbox)
    inbox.post(1)
    inbox.post(2)
    assert readable(inbox)

    assert list(inbox.drain()) == [1, 2]

    assert not readable(inbox)
    assert list(inbox.drain()) == []
    inbox.close()


def test_what_a_taker_leaves_is_there_at_the_next_call() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.post(1)
    inbox.post(2)

    assert next(inbox.drain()) == 1

    assert list(inbox.drain()) == [2]
    inbox.close()


def test_nothing_is_lost_when_many_threads_post() -> None:
    inbox: Inbox[int] = Inbox()
    threads = [
        threading.Thread(target=lambda i=i: [inbox.post(1000 * i + j) for j in range(1000)])
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    found: list[int] = []
    while len(found) < 4000:
        select.select([inbox.fd], [], [], 10)
        found += inbox.drain()

    assert sorted(found) == list(range(4000))
    for i in range(4):
        mine = [x for x in found if x // 1000 == i]
        assert mine == sorted(mine)
    for thread in threads:
        thread.join()
    inbox.close()


def test_posting_after_the_end_is_harmless() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.close()

    inbox.post(1)
