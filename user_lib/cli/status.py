"""The exit codes of ``oodida``."""

__all__ = ["BAD_INPUT", "FAILED", "INTERRUPTED", "NO_CLOUD", "OK", "PIPE_CLOSED"]

OK = 0
FAILED = 1
BAD_INPUT = 2
NO_CLOUD = 3
INTERRUPTED = 130
PIPE_CLOSED = 141
