"""A cloud in an attacker's hands sends a message without an end: the agent gives up the link."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.wire.endless import EndlessServer
from user_lib.contract.messages import Assign, Heartbeat, Hello
from user_lib.contract.validation import parse

pytestmark = pytest.mark.timeout(180)
SPEC = {
    "signals": ["Vehicle.Speed"], "onboard": "mean", "window": {"samples": 20},
    "iterations": "forever",
}  # fmt: skip


def test_an_endless_message_costs_bounded_memory_and_a_link_and_no_iteration(
    cloud: Any, start_agent: Any
) -> None:
    agent = start_agent()
    cloud.until(lambda: cloud.last(Hello))
    cloud.send(Assign(assignment_id="job-1", analyst="ana", spec=parse(SPEC)))
    cloud.until(lambda: cloud.results("job-1"))
    before_mb = most_mb = resident_mb(agent)
    cloud.close()

    hostile = EndlessServer(int(cloud.endpoint.rpartition(":")[2]))
    try:
        deadline = time.monotonic() + 60
        while "no whole message" not in agent.log:
            assert time.monotonic() < deadline
            most_mb = max(most_mb, resident_mb(agent))
            time.sleep(0.02)
    finally:
        hostile.close()

    assert hostile.sent_mb[0] < hostile.most_mb
    assert most_mb - before_mb < 200
    seen = len(cloud.results("job-1"))
    cloud.heard.clear()
    cloud.open()
    cloud.until(lambda: len(cloud.results("job-1")) > seen + 5, timeout_s=60)
    iterations = [r.iteration for r in cloud.results("job-1")]
    assert iterations == list(range(1, len(iterations) + 1))
    beat = cloud.until(lambda: cloud.last(Heartbeat))
    assert beat.stats["link.endless"] >= 1
    assert beat.stats["loop.errors"] == 0


def resident_mb(agent: Any) -> float:
    pages = int(Path(f"/proc/{agent.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
