"""Params, results and feedback of several megabytes, through real processes with keys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from user_lib.contract.content import INLINE_BYTES
from user_lib.contract.errors import Rejected
from user_lib.demo.local_fleet import LocalFleet, simulated

pytestmark = pytest.mark.timeout(180)

WEIGHTS = 250_000
"""As numbers, 2.25 MB."""
ECHO = """
import numpy as np

def custom(data, params):
    weights = np.asarray(params["weights"])
    return {"sum": float(weights.sum()), "weights": weights * 2}
"""
LEARN = f"""
import numpy as np
from user_lib import Result

def custom(data, params):
    before = np.asarray(params.feedback["weights"] if params.feedback else np.zeros({WEIGHTS}))
    return Result({{"weights": before + 1.0}}, {{"seen": params.iteration}})
"""
POOL = """
import numpy as np

def custom(data, params):
    return {"weights": np.mean([value["weights"] for value in data.values()], axis=0)}
"""
LARGE = {
    "signals": ["Vehicle.Speed"],
    "window": {"samples": 10},
    "onboard": "custom",
    "limits": {"cpu_s": 20, "memory_mb": 900, "wall_s": 60},
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("large")
    vehicles = [
        simulated("compact-1", "compact", seed=21, speed=8.0),
        simulated("wagon-1", "wagon", seed=22, speed=8.0),
    ]
    config = {"contents": {"largest_mb": 8}}
    with LocalFleet(folder, vehicles, cloud_config=config) as local:
        local.start()
        with local.connect("tester") as fleet:
            local.wait_online(fleet)
            yield fleet


def test_large_params_reach_the_vehicles_and_large_results_the_analyst(fleet: Any) -> None:
    fleet.update_code(ECHO)
    weights = np.random.default_rng(1).normal(size=WEIGHTS)

    job = fleet.assign(LARGE, onboard_params={"weights": weights}, offboard="collect")
    job.wait(timeout_s=90)

    results = job.results()
    assert [r.error for r in results] == ["", ""]
    assert all(r.receipt.payload.size > INLINE_BYTES for r in results)
    for result in results:
        assert np.array_equal(result.value["weights"], weights * 2)
    (closed,) = job.closed_rounds()
    assert sorted(closed.value) == ["compact-1", "wagon-1"]
    assert job.verify().ok, job.verify()


def test_what_is_saved_holds_the_large_values(fleet: Any, tmp_path: Path) -> None:
    fleet.update_code(ECHO)
    job = fleet.assign(LARGE, onboard_params={"weights": np.arange(WEIGHTS, dtype=float)})
    job.wait(timeout_s=90)

    job.save(tmp_path / "all.jsonl")

    columns = job.to_numpy()
    assert columns["weights"].shape == (2, WEIGHTS)
    assert (tmp_path / "all.jsonl").read_text().count('"sum":31249875000.0') >= 2


def test_weights_of_megabytes_go_round(fleet: Any) -> None:
    fleet.update_code(LEARN)
    fleet.update_code(POOL, side="offboard")

    job = fleet.assign(LARGE, offboard="custom", feedback=True, iterations=3)
    job.wait(timeout_s=120)

    rounds = job.closed_rounds()
    assert [r.failed for r in rounds] == [{}, {}, {}]
    assert [np.unique(r.value["weights"]).tolist() for r in rounds] == [[1.0], [2.0], [3.0]]
    assert job.verify().ok, job.verify()


def test_params_too_large_for_the_cloud_are_refused_with_the_key_to_change(fleet: Any) -> None:
    fleet.update_code(ECHO)

    with pytest.raises(Rejected, match=r"9\.0 MB; at most 8\.0 MB .*contents\.largest_mb"):
        fleet.assign(LARGE, onboard_params={"weights": np.zeros(1_000_000)})


def test_a_result_too_large_for_the_cloud_is_a_failure_that_names_the_key(fleet: Any) -> None:
    fleet.update_code("def custom(data, params):\n    return [0.5] * 1_000_000\n")

    job = fleet.assign(LARGE)
    job.wait(timeout_s=90)

    for result in job.results():
        assert result.receipt.reason == "output"
        assert "9.0 MB; at most 8.0 MB (contents.largest_mb of the cloud)" in result.error
