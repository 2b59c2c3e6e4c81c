from user_lib.bus_words import buses_in_words


def test_what_is_wrong_and_what_was_lost_is_said() -> None:
    stats = {"frames.total": 9.0, "source.disconnected": 1.0, "frames.dropped": 312.0}

    assert buses_in_words(stats) == "1 away, 312 frames lost"


def test_healthy_buses_are_ok_and_a_vehicle_that_told_nothing_is_neither() -> None:
    assert buses_in_words({"frames.total": 9.0, "frames.dropped": 0.0}) == "ok"
    assert buses_in_words({}) is None
