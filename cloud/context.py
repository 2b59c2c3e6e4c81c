"""What the parts of the cloud share: each is owned elsewhere, and handed on as one bundle."""

from dataclasses import dataclass, field

from cloud.audit import Audit
from cloud.auth import Auth
from cloud.code.rollout import Rollout
from cloud.code.slots import Slots
from cloud.complaints import Complaints
from cloud.config import Config
from cloud.contents import ContentDesk
from cloud.ledger import Ledger
from cloud.mail import Mail
from cloud.offboard import Work
from cloud.registry import Registry
from user_lib.contract.clock import Clock
from user_lib.contract.ids import AssignmentId, UserId

__all__ = ["Context", "News"]


@dataclass(slots=True)
class News:
    """What changed in this tick, for the requests that wait at the cloud."""

    assignments: set[AssignmentId] = field(default_factory=set)
    code: set[UserId] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The ledger, what leaves after its commit, and who is there.

    ``work`` goes to the off-board threads after the commit too: they read the ledger by themselves.
    """

    config: Config
    auth: Auth
    clock: Clock
    ledger: Ledger
    registry: Registry
    mail: Mail
    slots: Slots
    rollout: Rollout
    complaints: Complaints
    audit: Audit
    contents: ContentDesk
    news: News = field(default_factory=News)
    work: list[Work] = field(default_factory=list)
