"""Nothing is lost and nothing counted twice, whatever happens to processes, link and disks."""

from pathlib import Path

import pytest

from tests.faults.audit import audited
from tests.faults.campaign import Campaign
from tests.faults.disk import cannot_mount
from tests.faults.troubles import troubles_of

pytestmark = pytest.mark.timeout(400)
TROUBLE_S = 40.0


@pytest.mark.parametrize(("seed", "keys"), [(1, False), (2, True)])
def test_the_laws_hold_through_a_campaign(tmp_path: Path, seed: int, keys: bool) -> None:
    with Campaign(tmp_path, seed, keys=keys, disks=not cannot_mount()) as campaign:
        campaign.begin()
        campaign.trouble(TROUBLE_S, troubles_of(campaign))
        campaign.settle()
        audit = audited(campaign)

    assert sum(campaign.happened.values()) >= 5
    assert sum(audit.results.values()) > 50
    assert audit.compared > 0
    assert audit.learned > 0
