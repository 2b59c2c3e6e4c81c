"""Who may stay connected: decided by address until the first message, by key from then on."""

from hypothesis import example, given
from hypothesis import strategies as st

from cloud.config import Pace
from cloud.door.attendance import EARLY_NS, Attendance, Sent
from user_lib.contract.clock import SECOND

NAT, OTHER = "10.0.0.1", "10.0.0.2"


def attendance(at_once: int = 10, per_s: float = 1, most: int = 1000) -> Attendance:
    return Attendance(Pace(per_s=per_s, at_once=at_once), 30, most)


def test_a_fleet_behind_one_address_comes_in_however_large_it_is() -> None:
    here = attendance(at_once=10)

    for fd in range(900):
        assert here.came(fd, NAT, 0) == []
        assert here.spoke(fd, f"key-{fd}", 1, 0) == []

    assert (here.newcomers, here.known) == (0, 900)


def test_an_address_whose_connections_say_nothing_runs_out_of_them_and_others_do_not() -> None:
    here = attendance(at_once=10, per_s=1)

    sent = [out for fd in range(100) for out in here.came(fd, NAT, 0)]

    assert {(out.why, out.who) for out in sent} == {("address", NAT)}
    assert len(sent) == 100 - here.newcomers
    assert here.newcomers <= 12
    assert here.came(500, OTHER, 0) == []
    assert here.came(501, NAT, 5 * SECOND) == []


def test_knocking_and_leaving_gives_no_token_back() -> None:
    here = attendance(at_once=10, per_s=1)

    for fd in range(10):
        here.came(fd, NAT, 0)
        here.left(fd)
    sent = [out for fd in range(10, 20) for out in here.came(fd, NAT, 0)]

    assert len(sent) >= 8


def test_of_a_key_that_has_too_many_the_oldest_goes() -> None:
    here = attendance()
    for fd in range(5):
        here.came(fd, NAT, 0)

    sent = [out for fd in range(5) for out in here.spoke(fd, "k", 3, 0)]

    assert sent == [Sent(0, "key", "k"), Sent(1, "key", "k")]
    assert here.of_key("k") == [2, 3, 4]
    assert here.spoke(0, "k", 3, 0) == []  # what it had sent before does not bring it back
    assert here.of_key("k") == [2, 3, 4]
    here.came(0, OTHER, 1)  # nor makes it the next one by that descriptor the key's
    assert (here.newcomers, here.of_key("k")) == (1, [2, 3, 4])


def test_without_keys_no_number_is_too_many_for_a_key() -> None:
    here = attendance()
    for fd in range(10):
        here.came(fd, NAT, 0)

    assert [out for fd in range(10) for out in here.spoke(fd, "", 3, 0)] == []


def test_where_there_is_no_room_the_longest_silent_goes_and_never_who_has_spoken() -> None:
    here = attendance(at_once=100, most=3)
    here.came(1, NAT, 0)
    here.spoke(1, "k", 4, 0)
    here.came(2, NAT, 0)
    here.came(3, NAT, 0)

    assert here.came(4, OTHER, 0) == [Sent(2, "full", NAT)]
    here.spoke(3, "l", 4, 0)
    here.spoke(4, "m", 4, 0)
    assert here.came(5, OTHER, 0) == [Sent(5, "full", OTHER)]


def test_who_says_nothing_for_too_long_goes_and_who_spoke_stays() -> None:
    here = attendance()
    here.came(1, NAT, 0)
    here.came(3, NAT, 0)
    here.spoke(3, "k", 4, 1)
    here.came(2, NAT, 20 * SECOND)

    assert here.overdue(29 * SECOND) == []
    assert here.overdue(31 * SECOND) == [Sent(1, "silent", NAT)]
    assert here.overdue(51 * SECOND) == [Sent(2, "silent", NAT)]
    assert here.known == 1


def test_a_first_message_may_be_there_before_the_word_that_its_connection_came() -> None:
    here = attendance()

    here.spoke(7, "k", 4, 0)
    here.came(7, NAT, 1)

    assert (here.newcomers, here.of_key("k")) == (0, [7])


def test_a_descriptor_that_became_anothers_is_the_others() -> None:
    here = attendance()
    here.came(7, NAT, 0)
    here.spoke(7, "old", 4, 0)

    here.spoke(7, "new", 4, 1)
    here.left(7)
    here.came(7, NAT, 2)
    assert (here.of_key("old"), here.of_key("new")) == ([], [7])

    here.spoke(7, "newer", 4, 3)
    here.spoke(7, "newer", 4, 3 + EARLY_NS)  # whose coming was never told of
    assert (here.of_key("new"), here.of_key("newer")) == ([], [7])


_fds, _keys = st.integers(0, 8), st.sampled_from(["", "a", "b"])
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("came"), _fds, st.sampled_from([NAT, OTHER])),
        st.tuples(st.just("spoke"), _fds, _keys),
        st.tuples(st.just("left"), _fds, st.just("")),
        st.tuples(st.just("time"), st.integers(0, 20), st.just("")),
    ),
    max_size=80,
)


@example(steps=[("came", fd, NAT) for fd in (0, 2, 3, 4, 5)] + [("spoke", 1, ""), ("came", 1, NAT)])
@given(steps=_steps)
def test_whatever_happens_all_bounds_hold(steps: list[tuple[str, int, str]]) -> None:
    here, now_ns = attendance(at_once=4, most=5), 0
    for what, number, who in steps:
        match what:
            case "came":
                here.came(number, who, now_ns)
            case "spoke":
                here.spoke(number, who, 2, now_ns)
            case "left":
                here.left(number)
            case _:
                now_ns += number * SECOND
                here.overdue(now_ns)
        assert here.newcomers == 0 or here.newcomers + here.known <= 5
        assert all(len(here.of_key(key)) <= 2 for key in ("a", "b"))
        assert here.known == sum(len(here.of_key(key)) for key in ("", "a", "b"))
