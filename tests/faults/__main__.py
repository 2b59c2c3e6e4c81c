"""A campaign by hand: ``python -m tests.faults --hours 2 --seed 7``.

It runs campaigns of ten minutes, one after the other, each with the next seed, and ends at the
first law that does not hold; the files of that campaign are left for who looks into it. Those of
even seeds have keys, and the analyst verifies everything in the end; those of odd seeds have a link
that drops, repeats and reorders whole messages. As root, each process has a small disk of its own,
which fills up and turns read-only under it.
"""

import argparse
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.audit import audited
from tests.faults.campaign import Campaign
from tests.faults.disk import cannot_mount
from tests.faults.troubles import troubles_of

CAMPAIGN_S = 600.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--hours", type=float, default=0.05, help="how long, in all")
    parser.add_argument("--seed", type=int, default=1, help="of the first campaign")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    why_not = cannot_mount()
    if why_not:
        sys.stdout.write(f"no disk fills up or turns read-only: {why_not}\n")
    until = time.monotonic() + given.hours * 3600
    seed = given.seed
    while (left_s := until - time.monotonic()) > 0:
        folder = Path(tempfile.mkdtemp(prefix=f"oodida-faults-{seed}-"))
        sys.stdout.write(f"seed {seed} in {folder}\n")
        sys.stdout.write(f"  {run(folder, seed, min(left_s, CAMPAIGN_S), disks=not why_not)}\n")
        sys.stdout.flush()
        shutil.rmtree(folder)
        seed += 1
    return 0


def run(folder: Path, seed: int, seconds: float, *, disks: bool) -> str:
    with Campaign(folder, seed, keys=seed % 2 == 0, disks=disks) as campaign:
        campaign.begin()
        campaign.trouble(seconds, troubles_of(campaign))
        campaign.settle()
        audit = audited(campaign)
    return (
        f"the laws hold: {sum(audit.results.values())} results, {audit.compared} of custom code "
        f"compared with it, {audit.learned} with their feedback; {sum(audit.lost.values())} told "
        f"as lost; {dict(campaign.happened)}; {dict(campaign.messages.counts)}, "
        f"{dict(campaign.bytes.counts)}"
    )


if __name__ == "__main__":
    sys.exit(main())
