"""Nothing is lost and nothing counted twice, whatever happens to processes, link and disks."""

from pathlib import Path

import pytest

from tests.faults.audit import audited
from tests.faults.campaign import Campaign

pytestmark = pytest.mark.timeout(400)
TROUBLE_S = 45.0


@pytest.mark.parametrize(("seed", "keys"), [(1, False), (2, True)])
def test_the_laws_hold_through_a_campaign(tmp_path: Path, seed: int, keys: bool) -> None:
    with Campaign(tmp_path, seed, keys=keys) as campaign:
        campaign.begin()
        campaign.trouble(TROUBLE_S)
        campaign.settle()

    audit = audited(campaign)
    assert sum(campaign.happened.values()) >= 5
    assert sum(audit.results.values()) > 50
