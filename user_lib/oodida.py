"""The published way to submit: ``import user_lib.oodida as o; o.createAssignment(spec)``.

The cloud and the user are those of `user_lib.connect` without arguments.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from user_lib.contract.assignment import Assignment
from user_lib.fleet import connect
from user_lib.job import Job

__all__ = ["createAssignment", "create_assignment"]


def create_assignment(spec: Mapping[str, Any] | Assignment | str | Path) -> Job:
    """Submit an assignment in the grammar and return its job.

    Raises: AssignmentError, Rejected, ConfigError, LinkError, as `Fleet.assign` and `connect`.
    """
    return connect().assign(spec)


createAssignment = create_assignment  # noqa: N816 - the name under which it is published
