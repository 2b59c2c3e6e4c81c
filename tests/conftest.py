"""What every test may count on."""

import signal

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)  # a busy machine proves nothing
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def _interrupts_are_heard() -> None:
    """Let processes of the tests hear SIGINT, also where whoever started pytest ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
