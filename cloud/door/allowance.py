"""How much a peer may send: a token bucket a key, kept as one number each.

What a message costs is time: the longer of what its count and its bytes take at the peer's rate.
The number is when all that was taken is paid for; who is further ahead of the clock than the burst
allows is cut. A vehicle that was away for days is not: `Welcome` tells it the rate, and it paces
itself below (`agent.link.session`).
"""

from collections.abc import Hashable

from cloud.config import Rate
from user_lib.contract.clock import SECOND
from user_lib.contract.codec import MAX_BODY_BYTES

__all__ = ["Allowance"]

FEWEST_KEPT = 1024


class Allowance:
    """The buckets of all peers of one kind.

    Units: ``now_ns``, ns of the monotonic clock.
    """

    def __init__(self, rate: Rate) -> None:
        self._message_ns = int(SECOND / rate.messages_per_s)
        self._byte_ns = SECOND / (rate.mb_per_s * 1e6)
        one_message_ns = int(MAX_BODY_BYTES * self._byte_ns)
        self._burst_ns = max(int(rate.burst_s * SECOND), one_message_ns)
        self._paid_ns: dict[Hashable, int] = {}
        self._prune_at = FEWEST_KEPT

    def __len__(self) -> int:
        return len(self._paid_ns)

    def take(self, peer: Hashable, size: int, now_ns: int, *, messages: int = 1) -> bool:
        """Whether a peer may send a message of so many bytes now; if so, it has.

        One that is as much work as several counts as so many ``messages``.
        """
        paid_ns = max(self._paid_ns.get(peer, now_ns), now_ns)
        if paid_ns - now_ns > self._burst_ns:
            return False
        self._paid_ns[peer] = paid_ns + max(messages * self._message_ns, int(size * self._byte_ns))
        if len(self._paid_ns) > self._prune_at:
            self._prune(now_ns)
        return True

    def give_back(self, peer: Hashable, now_ns: int) -> None:
        """Take back the cost of a message without bytes, as if it had not been."""
        paid_ns = self._paid_ns.get(peer, now_ns)
        if paid_ns > now_ns:
            self._paid_ns[peer] = paid_ns - self._message_ns

    def wait_s(self, peer: Hashable, now_ns: int) -> float:
        """Return how long a peer has to wait until it may send again; 0 when it may."""
        ahead_ns = self._paid_ns.get(peer, now_ns) - now_ns
        return max(0, ahead_ns - self._burst_ns) / SECOND

    def _prune(self, now_ns: int) -> None:
        """Forget who owes nothing: a full bucket is what everybody begins with."""
        self._paid_ns = {peer: paid for peer, paid in self._paid_ns.items() if paid > now_ns}
        self._prune_at = max(FEWEST_KEPT, 2 * len(self._paid_ns))
