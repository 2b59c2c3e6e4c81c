"""Running assignments: a temporary handler for each, gone when it ends."""

from cloud.jobs.book import Jobs
from cloud.jobs.job import Job
from cloud.jobs.restore import RECONNECT_NS

__all__ = ["RECONNECT_NS", "Job", "Jobs"]
