"""Nothing is lost and nothing counted twice, whatever happens to processes, link and disks."""

from pathlib import Path

import pytest

from tests.faults.audit import Audit
from tests.faults.campaign import Campaign

pytestmark = pytest.mark.timeout(400)
TROUBLE_S = 45.0


@pytest.mark.parametrize("seed", [1])
def test_the_laws_hold_through_a_campaign(tmp_path: Path, seed: int) -> None:
    with Campaign(tmp_path, seed) as campaign:
        campaign.begin()
        campaign.trouble(TROUBLE_S)
        campaign.settle()
        kept = {job.id: campaign.kept(job.id) for job in campaign.jobs}

    audit = Audit(tmp_path / "ledger.sqlite")
    audit.check_vehicles(campaign.seen)
    audit.check_streams(kept)
    audit.check_rounds()
    assert sum(campaign.happened.values()) >= 5
    assert sum(audit.results.values()) > 50
