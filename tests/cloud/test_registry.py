"""Leases and who speaks for which vehicle, on a clock of the test's own."""

from hypothesis import given
from hypothesis import strategies as st

from cloud.registry import Registry
from user_lib.contract.messages import Hello

LEASE_NS = 100


def hello(name: str, epoch: str = "e1", model: str = "") -> Hello:
    return Hello(vehicle_id=name, epoch=epoch, agent_version="1", dbc_hash="d", model=model)


def test_a_lease_runs_out_unless_the_vehicle_speaks() -> None:
    registry = Registry(LEASE_NS)
    registry.claim(b"p", hello("a"), 0, 0)

    assert registry.expire(99) == []
    assert registry.speaker(b"p", 99, 7) is not None
    assert registry.expire(198) == []
    assert registry.expire(199) == ["a"]
    assert not registry.is_online("a")
    assert registry.speaker(b"p", 200, 8) is None
    assert registry.vehicles["a"].seen_unix_ns == 7


def test_the_same_life_on_a_new_connection_takes_over() -> None:
    registry = Registry(LEASE_NS)
    registry.claim(b"old", hello("a"), 0, 0)

    assert registry.claim(b"new", hello("a"), 1, 1)
    assert registry.peer_of("a") == b"new"
    assert registry.speaker(b"old", 2, 2) is None


def test_another_life_takes_over_only_when_the_first_is_gone() -> None:
    registry = Registry(LEASE_NS)
    registry.claim(b"first", hello("a", "e1", "first"), 0, 0)

    assert not registry.claim(b"second", hello("a", "e2", "second"), 50, 50)
    assert registry.vehicles["a"].hello.model == "first"
    registry.expire(150)
    assert registry.claim(b"second", hello("a", "e2", "second"), 151, 151)
    assert registry.vehicles["a"].hello.model == "second"


def test_the_same_connection_may_begin_a_new_life() -> None:
    registry = Registry(LEASE_NS)
    registry.claim(b"p", hello("a", "e1"), 0, 0)

    assert registry.claim(b"p", hello("a", "e2"), 1, 1)


def test_a_connection_stays_the_vehicle_that_it_is() -> None:
    registry = Registry(LEASE_NS)
    registry.claim(b"p", hello("a"), 0, 0)

    assert not registry.claim(b"p", hello("b"), 1, 1)
    assert registry.vehicle_of(b"p") == "a"
    assert "b" not in registry.vehicles


_steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "speak", "expire", "drop"]),
        st.sampled_from([b"p1", b"p2", b"p3"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["e1", "e2"]),
        st.integers(0, 80),
    ),
    max_size=40,
)


@given(steps=_steps)
def test_a_connection_speaks_for_one_vehicle_and_a_vehicle_has_one_connection(
    steps: list[tuple[str, bytes, str, str, int]],
) -> None:
    registry = Registry(LEASE_NS)
    now_ns = 0
    for what, peer, name, epoch, passed_ns in steps:
        now_ns += passed_ns
        match what:
            case "claim":
                registry.claim(peer, hello(name, epoch), now_ns, now_ns)
            case "speak":
                registry.speaker(peer, now_ns, now_ns)
            case "expire":
                registry.expire(now_ns)
                left = [v for v in registry.vehicles.values() if v.online]
                assert all(v.lease_until_ns > now_ns for v in left)
            case _:
                if name in registry.vehicles:
                    registry.drop(name)
        online = {n: v.peer for n, v in registry.vehicles.items() if v.peer is not None}
        assert len(set(online.values())) == len(online) == registry.online
        assert all(registry.vehicle_of(p) == n for n, p in online.items())
