"""What became of a job on one vehicle, in the words that ``explain`` and ``doctor`` share."""

from user_lib.contract.messages import MemberInfo

__all__ = ["lost_words"]

_FULL, _UNTRUSTED, _RULE = "outbox_full", "untrusted", "rule "


def lost_words(member: MemberInfo) -> str:
    """Say how many results a vehicle had to drop and why; empty when it dropped none."""
    parts = [_lost(count, reason) for reason, count in member.lost_for.items()]
    untold = member.lost_results - sum(member.lost_for.values())
    if untold > 0:
        parts.append(f"{untold} results lost")
    return "; ".join(parts)


def _lost(count: int, reason: str) -> str:
    lost = f"{count} results lost"
    if reason == _FULL:
        return f"{lost}, its outbox was full"
    if reason.startswith(_RULE):
        return f"{lost}: {reason} of the vehicle's owner keeps them there"
    if reason == _UNTRUSTED:
        return f"{lost}: the vehicle's owner no longer trusts the analyst and keeps them there"
    return f"{lost} ({reason})"
