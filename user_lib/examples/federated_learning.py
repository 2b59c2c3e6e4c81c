"""Federated learning: the model travels, the data stays.

Each round sends the model to the vehicles; each trains it on its own newest window by a few
gradient steps; the cloud averages the models weighted by samples (FedAvg) and sends the average out
again, until the criterion is met. Here: how fast is the car at this engine speed in this gear?
A linear model, on scales that are the same everywhere.

    python -m user_lib.examples.federated_learning
"""

from typing import Any

from user_lib import Fleet, Job, connect

ENGINE = "Vehicle.Powertrain.CombustionEngine.Speed"
GEAR = "Vehicle.Powertrain.Transmission.CurrentGear"
SPEED = "Vehicle.Speed"


def learn(
    fleet: Fleet,
    signals: tuple[str, ...] = (SPEED, ENGINE, GEAR),
    scale: dict[str, list[float]] | None = None,
    until: str = "round >= 5 and loss < 300",
    rounds: int = 40,
    vehicles: str | list[str] = "all",
) -> Job:
    """Submit the training of a model of ``signals[0]`` from the others."""
    return fleet.assign(
        name="federated-learning",
        vehicles=vehicles,
        signals=list(signals),
        window={"seconds": 10},
        onboard="least_squares",
        onboard_params={
            "target": signals[0],
            "scale": scale or {ENGINE: [1500, 800], GEAR: [3, 2]},
            "epochs": 10,
        },
        offboard="fedavg",
        feedback=True,
        until=until,
        iterations=rounds,
    )


def run(fleet: Fleet, **keys: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - of `learn`
    """Return the fleet's model after each round; the last one met the criterion or the limit."""
    job = learn(fleet, **keys)
    models = [round_.value for round_ in job.rounds()]
    job.raise_for_state()
    return models


def main() -> None:
    """Show the loss falling and the model that came out."""
    with connect() as fleet:
        models = run(fleet)
    for number, model in enumerate(models, start=1):
        print(f"round {number}: loss {model['loss']:.1f} on {model['samples']:.0f} samples")
    print(models[-1])


if __name__ == "__main__":
    main()
