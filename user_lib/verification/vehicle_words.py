"""Which events are a vehicle's own word, relayed by the cloud: those must carry it, signed."""

from user_lib.contract.messages import JobChanged, Losses, TaskEnded
from user_lib.contract.states import TASK_ENDS

__all__ = ["is_vehicles_word", "tells"]


def is_vehicles_word(changed: JobChanged) -> bool:
    """Whether only a vehicle can know this: that its task ended, or that results are lost."""
    ended = changed.task_state in TASK_ENDS
    return changed.said is not None or ended or changed.reason == "results_lost"


def tells(changed: JobChanged, said: TaskEnded | Losses) -> bool:
    """Whether an event tells what the vehicle said, and nothing else."""
    if changed.vehicle_id != said.vehicle_id or changed.assignment_id != said.assignment_id:
        return False
    if isinstance(said, Losses):
        return (changed.reason, changed.detail) == ("results_lost", said.words)
    told = (changed.task_state, changed.reason, changed.detail, changed.path)
    also = (changed.near, changed.rule)
    return told == (said.state, said.reason or said.state, said.detail, said.path) and (
        also == (said.near, said.rule)
    )
