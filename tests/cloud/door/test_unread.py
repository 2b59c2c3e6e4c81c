"""Who goes of those that sent more than was handed on: who owes most, nobody for one message."""

from hypothesis import given
from hypothesis import strategies as st

from cloud.door.unread import MOST_AT_ONCE_BYTES, PATIENCE_LOOKS, Unread, crowding, endless
from user_lib.contract.codec import MAX_BODY_BYTES
from user_lib.wire.unfinished import MOST_UNFINISHED_BYTES

MB = 1024 * 1024


def key_of(unread: Unread) -> str:
    return unread.key


def test_who_owes_more_than_a_message_and_finishes_none_goes_after_some_looks() -> None:
    more = MOST_UNFINISHED_BYTES + 1
    slow = Unread(1, "slow", MOST_UNFINISHED_BYTES, PATIENCE_LOOKS * 100)
    busy = Unread(2, "busy", more, PATIENCE_LOOKS - 1)
    stuck = Unread(3, "stuck", more, PATIENCE_LOOKS)
    flood = Unread(4, "flood", MOST_AT_ONCE_BYTES + 1)

    assert endless([slow, busy, stuck, flood]) == [stuck, flood]


def test_who_owes_most_goes_until_the_rest_fits() -> None:
    many = [Unread(fd, "mallory", 10 * MB) for fd in range(30)]
    large = [Unread(100, "eve", 60 * MB), Unread(101, "eve", 20 * MB)]
    ada = [Unread(200, "ada", MAX_BODY_BYTES)]

    going = crowding([*ada, *large, *many], 150 * MB, key_of)

    kept = {one.fd for one in (*ada, *large, *many)} - {one.fd for one in going}
    assert {one.key for one in going} == {"mallory", "eve"}
    assert kept >= {101, 200}
    assert going[0].key == "mallory"


def test_nobody_goes_while_all_fits() -> None:
    assert crowding([Unread(1, "a", 60 * MB), Unread(2, "b", 40 * MB)], 100 * MB, key_of) == []


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 60 * MB)), max_size=40),
    st.integers(1, 200 * MB),
)
def test_what_stays_fits_or_is_one_message_an_owner(
    owing: list[tuple[str, int]], most_bytes: int
) -> None:
    unread = [Unread(fd, key, owed) for fd, (key, owed) in enumerate(owing)]

    going = crowding(unread, most_bytes, key_of)

    stay = [one for one in unread if one not in going]
    left = sum(one.owed_bytes for one in stay)
    if left > most_bytes:
        for key in "abcd":
            assert sum(one.owed_bytes for one in stay if one.key == key) <= MAX_BODY_BYTES
    if going:
        assert left + going[-1].owed_bytes > most_bytes
