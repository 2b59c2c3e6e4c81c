"""A zygote that the service manager started for a connection, which is its standard input."""

import sys

from agent.sandbox import zygote

__all__: list[str] = []

if __name__ == "__main__":
    zygote.main(sys.stdin.fileno())
