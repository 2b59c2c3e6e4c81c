"""Made-up orders cost a bounded number of answers."""

from agent.strangers import AGAIN_NS, REMEMBERED, Strangers


def test_each_is_told_of_once_a_minute_and_all_of_them_a_bounded_number_of_times() -> None:
    strangers = Strangers()

    assert strangers.admit("job-1", 0)
    assert not strangers.admit("job-1", 1)
    told = sum(strangers.admit(f"job-{i}", 2) for i in range(2, 10_000))
    assert told == REMEMBERED - 1
    assert strangers.unsaid == 9_998 - told + 1

    assert strangers.admit("job-1", AGAIN_NS)
    assert not strangers.admit("job-2", AGAIN_NS)
    assert strangers.admit("job-2", AGAIN_NS + 2)
