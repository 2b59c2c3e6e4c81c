"""An analyst as a process: follows a job and keeps each event, to go on where it was when killed.

python -m tests.faults.reader JOB FILE, with the cloud in the environment
"""

import sys
from pathlib import Path

import msgspec

from user_lib.contract.messages import Event
from user_lib.fleet import connect

__all__ = ["read_kept"]


def read_kept(path: Path) -> list[Event]:
    """Return the events in a file; a line that was cut off by a kill is no event yet."""
    if not path.exists():
        return []
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - len(rest))
    return [msgspec.json.decode(line, type=Event) for line in lines]


def main() -> None:
    job_id, name = sys.argv[1:]
    path = Path(name)
    kept = read_kept(path)
    after = kept[-1].seq if kept else 0
    with (
        connect(timeout_s=60) as fleet,
        path.open("ab", buffering=0) as file,
    ):
        for event in fleet.job(job_id).events(after_seq=after):
            file.write(msgspec.json.encode(event) + b"\n")


if __name__ == "__main__":
    main()
