"""Bytes queued for peers that do not read are bounded, a peer and in all."""

from dataclasses import dataclass

from cloud.door.backlog import Backlog


@dataclass
class Letter:
    done: bool = False


def test_a_peer_that_does_not_read_gets_no_more_until_it_does() -> None:
    backlog = Backlog(peer_bytes=100, total_bytes=1000)
    letters = [Letter(), Letter()]
    for letter in letters:
        assert backlog.has_room("p", 50)
        backlog.hold("p", 50, letter)
    assert not backlog.has_room("p", 1)

    letters[0].done = True

    assert backlog.has_room("p", 50)
    assert not backlog.has_room("p", 51)
    assert backlog.held_bytes == 50


def test_one_message_may_be_larger_than_the_bound() -> None:
    backlog = Backlog(peer_bytes=100, total_bytes=1000)

    assert backlog.has_room("p", 5000)


def test_all_together_are_bounded_and_who_holds_nothing_is_served() -> None:
    backlog = Backlog(peer_bytes=100, total_bytes=120)
    letter = Letter()
    backlog.hold("p", 60, letter)
    backlog.hold("q", 60, Letter())

    assert not backlog.has_room("q", 40)
    assert backlog.has_room("r", 40)
    letter.done = True
    assert backlog.has_room("q", 40)


def test_what_has_left_is_forgotten_of_peers_that_are_gone_too() -> None:
    backlog = Backlog(peer_bytes=100, total_bytes=1000)
    for i in range(50):
        backlog.hold(i, 10, Letter(done=i % 2 == 0))

    backlog.settle()

    assert backlog.held_bytes == 250
    assert len(backlog._held) == 25
