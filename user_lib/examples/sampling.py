"""Sampling: a signal at a chosen rate, while another task runs on the same vehicles.

``sample`` sends at most so many samples a second, with their times; how often the bus carries the
signal does not matter. The second job shows that tasks do not disturb each other.

    python -m user_lib.examples.sampling
"""

import numpy as np

from user_lib import Fleet, connect


def run(
    fleet: Fleet, signal: str = "Vehicle.Speed", rate_hz: float = 2.0, windows: int = 3
) -> dict[str, float]:
    """Return for each vehicle the rate (samples a second) at which samples came."""
    everything = {"signals": [signal], "window": {"seconds": 5}, "iterations": windows}
    sampling = fleet.assign(
        everything, name="sampling", onboard="sample", onboard_params={"rate_hz": rate_hz}
    )
    beside = fleet.assign(everything, name="beside", onboard="mean", offboard="mean")
    sampling.wait()
    beside.wait()
    for job in (sampling, beside):
        job.raise_for_state()

    times: dict[str, list[int]] = {}
    for result in sampling.results():
        if not result.ok:
            raise RuntimeError(repr(result))
        times.setdefault(result.vehicle, []).extend(result.value[signal]["times_ns"])
    return {vehicle: _rate_hz(stamps) for vehicle, stamps in times.items()}


def _rate_hz(times_ns: list[int]) -> float:
    """Return one over the median time between samples."""
    return float(1e9 / np.median(np.diff(np.sort(times_ns))))


def main() -> None:
    """Show the rate on each vehicle."""
    with connect() as fleet:
        for vehicle, rate_hz in run(fleet).items():
            print(f"{vehicle}: {rate_hz:.2f} samples a second")


if __name__ == "__main__":
    main()
