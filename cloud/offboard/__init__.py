"""Off-board methods: run in the sandbox by worker threads, so that the router never waits."""

from cloud.offboard.aggregate import Done, GroupValue, Source, Work, aggregate, explain
from cloud.offboard.workers import Workers

__all__ = ["Done", "GroupValue", "Source", "Work", "Workers", "aggregate", "explain"]
