"""The command ``oodida``: one module a group of commands, each with ``add_parser`` and ``run``."""

from user_lib.cli.entry import main

__all__ = ["main"]
