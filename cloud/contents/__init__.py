"""Contents at the cloud: pulled from vehicles, given to vehicles, exchanged with analysts."""

from cloud.contents.desk import ContentDesk
from cloud.contents.pulls import Offer

__all__ = ["ContentDesk", "Offer"]
