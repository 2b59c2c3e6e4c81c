"""What became of a job on one vehicle, in the words that ``explain`` and ``doctor`` share."""

from user_lib.contract.messages import MemberInfo
from user_lib.contract.states import TaskState

__all__ = ["ended_by", "kept_by_owner", "lost_words", "waits_for_budget"]

_FULL, _UNTRUSTED, _RULE = "outbox_full", "untrusted", "rule "
_WAITS_BY_RULE = "waits: rule "


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


def kept_by_owner(member: MemberInfo) -> bool:
    """Whether results are lost since the owner of the vehicle does not let them leave."""
    return any(r == _UNTRUSTED or r.startswith(_RULE) for r in member.lost_for)


def ended_by(member: MemberInfo) -> str:
    """Name what of the owner's ended a task that it had accepted; empty when nothing did."""
    if member.state is not TaskState.FAILED:
        return ""
    if member.rule:
        return f"{_RULE}{member.rule}"
    return "lost trust" if member.detail.startswith(f"{_UNTRUSTED}:") else ""


def waits_for_budget(member: MemberInfo) -> bool:
    """Whether a task has its window and a budget of the owner's is used up; the detail says it."""
    return member.state is TaskState.READY and _WAITS_BY_RULE in member.detail
