"""``python -m tests.fuzz.one TARGET CORPUS [libFuzzer options]``: one target, in this process."""

import logging
import sys

import atheris

with atheris.instrument_imports(include=["agent", "cloud", "dbc", "hw", "user_lib"]):
    from tests.fuzz.links import LINK_TARGETS
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Hand the process over to the fuzzer."""
    target = {**TARGETS, **LINK_TARGETS}[sys.argv[1]]
    logging.disable(logging.CRITICAL)

    def run(content: bytes) -> None:
        target(content)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], run)
    atheris.Fuzz()


main()
