"""Active-code replacement and an A/B test: half of the vehicles run A, half B, side by side.

Version A goes to all vehicles, a job starts, then B goes to half of them while the job runs:
nothing is restarted, and the next iteration runs the new code. Results of two versions are never
mixed: a round holds one aggregate for each. At the end B is taken back.

    python -m user_lib.examples.code_swap_ab
"""

from user_lib import CodeUpdate, Fleet, Round, connect

VERSION_A = '''
import numpy as np

def custom(xs):
    """The mean: what a few outliers move."""
    return {"level": float(np.mean(xs))}
'''
VERSION_B = '''
import numpy as np

def custom(xs):
    """The median: what they do not."""
    return {"level": float(np.median(xs))}
'''


def run(
    fleet: Fleet, signal: str = "Vehicle.Speed", rounds: int = 3
) -> tuple[CodeUpdate, list[Round]]:
    """Return the swap to B, and the first ``rounds`` rounds that hold both versions."""
    vehicles = sorted(v.vehicle_id for v in fleet.vehicles() if v.online)
    fleet.update_code(VERSION_A)
    job = fleet.assign(
        name="a-b",
        signals=[signal],
        window={"seconds": 2},
        onboard="custom",
        offboard="mean",
        vehicles=vehicles,
        iterations="forever",
    )
    both: list[Round] = []
    try:
        next(job.rounds())  # A runs everywhere
        swap = fleet.update_code(VERSION_B, vehicles=vehicles[: len(vehicles) // 2])
        for round_ in job.rounds():
            if len(round_.groups) == 2:
                both.append(round_)
            if len(both) == rounds:
                break
    finally:
        job.cancel()
        fleet.rollback_code()
    return swap, both


def main() -> None:
    """Show how long the swap took, and A beside B."""
    with connect() as fleet:
        swap, rounds = run(fleet)
    print(swap)
    for round_ in rounds:
        print(round_)


if __name__ == "__main__":
    main()
