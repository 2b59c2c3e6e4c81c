"""Batch: N points of a signal on every vehicle, one algorithm over them, one answer.

The quantiles are exact on a vehicle. Over the fleet they are merged from small sketches, within the
relative error that stands beside them: no raw sample leaves a vehicle for it.

    python -m user_lib.examples.batch
"""

from typing import Any

from user_lib import Fleet, connect


def run(fleet: Fleet, signal: str = "Vehicle.Speed", points: int = 500) -> dict[str, Any]:
    """Return the fleet's quantiles of ``points`` samples a vehicle, with their error."""
    job = fleet.assign(
        name="batch",
        signals=[signal],
        window={"samples": points},
        onboard="quantiles",
        onboard_params={"q": [0.1, 0.5, 0.9]},
        offboard="merge",
    )
    job.wait(progress=True)
    job.raise_for_state()
    (only_round,) = job.closed_rounds()
    value: dict[str, Any] = only_round.value[signal]
    return value


def main() -> None:
    """Show the quantiles."""
    with connect() as fleet:
        print(run(fleet))


if __name__ == "__main__":
    main()
