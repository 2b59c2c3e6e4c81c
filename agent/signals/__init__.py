"""From frames to windows: history, decoding on read, windows, triggers, and their thread."""

from agent.signals.hub import SignalHub, Subscription
from agent.signals.names import Derivation
from agent.signals.offline import run_on_log
from agent.signals.profile import Profile, load_profile
from agent.signals.subscription import Delivery, SourceOver, SubscriptionFailed, WindowReady

__all__ = [
    "Delivery",
    "Derivation",
    "Profile",
    "SignalHub",
    "SourceOver",
    "Subscription",
    "SubscriptionFailed",
    "WindowReady",
    "load_profile",
    "run_on_log",
]
