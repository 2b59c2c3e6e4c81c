"""Stream: an update per iteration, as soon as it is there.

`Job.rounds` yields a round when every vehicle has answered; `Job.stream` would yield each vehicle's
own result as it arrives.

    python -m user_lib.examples.stream
"""

from collections.abc import Iterator

from user_lib import Fleet, Round, connect


def run(fleet: Fleet, signal: str = "Vehicle.Speed", updates: int = 5) -> Iterator[Round]:
    """Yield the fleet's mean, one round at a time."""
    job = fleet.assign(
        name="stream",
        signals=[signal],
        window={"seconds": 2},
        onboard="mean",
        offboard="weighted_mean",
        iterations=updates,
    )
    yield from job.rounds()
    job.raise_for_state()


def main() -> None:
    """Show each update as it comes."""
    with connect() as fleet:
        for round_ in run(fleet):
            print(round_)


if __name__ == "__main__":
    main()
