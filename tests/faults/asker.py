"""An analyst as a process that changes something, so that it can be killed amid doing so.

python -m tests.faults.asker push LETTER | submit BYTES, with the cloud in the environment
"""

import sys

from user_lib.fleet import connect

__all__ = ["code_of", "large", "letter_of"]

CODE = """\
def custom(data, params):
    if "size" in params:
        return "{letter}" * params["size"]
    return 1.0 + (params.feedback or 0.0)
"""
LARGE = {
    "signals": ["Vehicle.Speed"],
    "window": {"seconds": 25},
    "onboard": "custom",
    "offboard": "collect",
    "iterations": "forever",
    "quorum": 0.3,
    "deadline_s": 10,
}


def code_of(letter: str) -> str:
    """Return a module whose every result tells which one it is."""
    return CODE.format(letter=letter)


def letter_of(source: str) -> str:
    """Return the letter of a module."""
    return source.partition('return "')[2][:1]


def large(size: int) -> dict[str, object]:
    """Return an assignment whose parameters and results travel in chunks."""
    return {**LARGE, "name": "large", "onboard_params": {"size": size, "rest": "y" * size}}


def main() -> None:
    what, given = sys.argv[1:]
    with connect(timeout_s=60) as fleet:
        if what == "push":
            fleet.update_code(code_of(given), wait=False)
        else:
            fleet.assign(large(int(given)))


if __name__ == "__main__":
    main()
