"""Running assignments: a temporary handler for each, gone when it ends."""

from cloud.jobs.book import Jobs
from cloud.jobs.job import Job

__all__ = ["Job", "Jobs"]
