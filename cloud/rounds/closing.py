"""How a round closes: quorum, and who counts in which aggregate."""

from collections import defaultdict
from collections.abc import Iterable

from cloud.rounds.model import Answer, Closing, Part, Round, Rounds
from user_lib.contract.quorum import is_met
from user_lib.contract.states import RoundState

__all__ = ["close"]


def close(state: Rounds, round_: Round) -> Closing:
    """Decide what a round amounts to; the answers it has are all it will ever have.

    Results of two code versions are never in one part. With an A/B test every version has its own
    part and its own quorum; without, the version of the most vehicles counts (of equals, the newest
    generation) and the others are named in ``not_counted``.
    """
    answered = round_.answers
    parts = _parts(a for a in answered.values() if a.ok)
    beside = [] if state.split else parts[1:]
    counted = parts if state.split else parts[:1]
    counting = {v for part in counted for v in part.vehicles}
    return Closing(
        number=round_.number,
        state=_verdict(state, round_),
        members=len(round_.members),
        parts=tuple(counted),
        missing=tuple(sorted(round_.members - answered.keys())),
        failed={v: a.reason or "error" for v, a in sorted(answered.items()) if not a.ok},
        not_counted={v: part.code_version for part in beside for v in part.vehicles},
        lost_frames=sum(a.lost_frames for v, a in answered.items() if v in counting),
        away_ms=sum(a.away_ms for v, a in answered.items() if v in counting),
    )


def _parts(answers: Iterable[Answer]) -> list[Part]:
    by_version: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_version[answer.code_version].append(answer)
    ranked = sorted(
        by_version.items(),
        key=lambda item: (len(item[1]), max(a.generation for a in item[1]), item[0]),
        reverse=True,
    )
    return [
        Part(version, tuple(sorted(a.vehicle for a in group)), sum(a.weight for a in group))
        for version, group in ranked
    ]


def _verdict(state: Rounds, round_: Round) -> RoundState:
    """Whether enough members answered: of all, or of each version that is being compared."""
    asked: dict[str, int] = defaultdict(int)
    answered: dict[str, int] = defaultdict(int)
    for vehicle in round_.members:
        member = state.members.get(vehicle)
        version = member.expected if state.split and member is not None else ""
        asked[version] += 1
        answered[version] += vehicle in round_.answers
    met = all(is_met(state.rules.quorum, answered[v], n) for v, n in asked.items())
    return RoundState.COMPLETE if met else RoundState.SHORT
