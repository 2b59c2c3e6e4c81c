"""Monitoring: exactly the values beyond a threshold arrive, for as long as anyone wants them.

The vehicles look at every sample, but send only those above the threshold; the rest never leaves
them. The job has no end of its own: it is cancelled when enough was seen.

    python -m user_lib.examples.monitoring
"""

from user_lib import Fleet, connect


def run(
    fleet: Fleet, signal: str = "Vehicle.Speed", above: float = 60.0, enough: int = 20
) -> list[tuple[str, int, float]]:
    """Return the first (vehicle, time in ns, value) above the threshold, about ``enough``."""
    job = fleet.assign(
        name="monitoring",
        signals=[signal],
        window={"seconds": 2},
        onboard="threshold",
        onboard_params={"above": above},
        iterations="forever",
    )
    seen: list[tuple[str, int, float]] = []
    try:
        for result in job.stream():
            if not result.ok:
                raise RuntimeError(repr(result))
            found = result.value[signal]
            for time_ns, value in zip(found["times_ns"], found["values"], strict=True):
                seen.append((result.vehicle, time_ns, value))
            if len(seen) >= enough:
                break
    finally:
        job.cancel()
    return seen


def main() -> None:
    """Show the alarms of a minute's drive."""
    with connect() as fleet:
        for vehicle, time_ns, value in run(fleet):
            print(f"{vehicle} at {time_ns / 1e9:.3f} s: {value:.1f} is above the threshold")


if __name__ == "__main__":
    main()
