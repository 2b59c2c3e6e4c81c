"""``python -m user_lib.cli`` is ``oodida``, where the command is not on the PATH."""

import sys

from user_lib.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
