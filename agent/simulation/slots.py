"""Worker slots of simulated vehicles: built-in methods run at once, in this process."""

from collections.abc import Callable

from agent.sandbox import Job, Outcome
from agent.sandbox.methods.method import ParamsError, Prior
from agent.sandbox.methods.registry import onboard
from agent.tasks.ports import Finished, News

__all__ = ["InstantSlots"]


class InstantSlots:
    """Worker slots that are done at once."""

    idle = 4

    def __init__(self, post: Callable[[News], None]) -> None:
        self._post = post

    def submit(self, ticket: int, job: Job) -> None:
        """Run a job, and post its end."""
        self._post(Finished(ticket, _outcome(job)))

    def finished(self) -> None:
        """Do nothing: a slot is free again at once."""


def _outcome(job: Job) -> Outcome:
    if job.window is None or job.method == "custom" or job.method.startswith("external:"):
        detail = "a simulated vehicle runs built-in methods only"
        return Outcome(status="refused", reason="sandbox", detail=detail)
    try:
        method = onboard(job.method)
        prior = Prior(job.state, job.feedback, job.iteration)
        out = method.compute(job.window, method.check(job.params), prior)
    except (ParamsError, ValueError) as error:
        return Outcome(status="error", reason="params", detail=str(error))
    return Outcome(
        status="ok", value=out.value, weight=out.weight, partial=out.partial, state=out.state
    )
