"""Too few descriptors are told of with what to do."""

import resource
import subprocess
import sys

from user_lib.wire.descriptors import descriptor_shortage

RAISED = """
import resource
from user_lib.wire.descriptors import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
print(raise_descriptor_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""

FITTING = """
import resource
from user_lib.wire.descriptors import connections_that_fit
resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, MOST))
print(connections_that_fit(24_000))
"""


def test_a_process_takes_as_many_as_it_may() -> None:
    run = subprocess.run([sys.executable, "-c", RAISED], capture_output=True, text=True, check=True)

    assert run.stdout.split() == ["512"] * 3


def test_some_descriptors_are_left_to_what_is_no_connection() -> None:
    told = []
    for limit in (100, 1024, 4096):
        code = FITTING.replace("MOST", str(limit))
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        told.append(int(run.stdout))

    assert told == [50, 512, 3072]


def test_a_limit_that_is_too_low_is_told_with_the_way_out() -> None:
    assert descriptor_shortage(resource.RLIM_INFINITY, 10_000) == ""
    assert descriptor_shortage(65_536, 10_000) == ""

    words = descriptor_shortage(1024, 10_000)

    assert "10000 connections" in words
    assert "1024" in words
    assert "LimitNOFILE" in words
