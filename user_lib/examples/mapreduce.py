"""MapReduce: word count, with the driver's speed as the text.

Map, on each vehicle: every sample becomes a word (here the class of its speed). Combine, still on
the vehicle: words are counted. Reduce, in the cloud: counts are added.

    python -m user_lib.examples.mapreduce
"""

from user_lib import Fleet, connect

EDGES = (1.0, 30.0, 60.0, 90.0, 120.0)
WORDS = ("standing", "creeping", "town", "country", "motorway", "fast")


def run(fleet: Fleet, signal: str = "Vehicle.Speed", points: int = 500) -> dict[str, int]:
    """Return how often each word occurs on all vehicles together."""
    job = fleet.assign(
        name="mapreduce",
        signals=[signal],
        window={"samples": points},
        onboard="wordcount",
        onboard_params={"edges": list(EDGES), "labels": list(WORDS)},
        offboard="merge",
    )
    job.wait()
    job.raise_for_state()
    (only_round,) = job.closed_rounds()
    counts: dict[str, int] = only_round.value[signal]
    return counts


def main() -> None:
    """Show the words, the most frequent first."""
    with connect() as fleet:
        for word, count in sorted(run(fleet).items(), key=lambda item: -item[1]):
            print(f"{count:8d} {word}")


if __name__ == "__main__":
    main()
