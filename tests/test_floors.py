"""Imports run one way: a module imports only from floors below it, or from its own room."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agent", "cloud", "user_lib", "dbc", "hw")

ROOMS = {
    "user_lib.contract": 0,
    "user_lib.wire": 1,
    "dbc": 1,
    "hw": 1,
    "agent.sandbox": 2,
    "agent.signals": 2,
    "agent": 3,
    "cloud": 3,
    "user_lib": 3,
}
"""The longest prefix of a module's name is its room; the number, its floor."""

FORBIDDEN = {
    ("dbc", "hw"): "a database knows no bus",
    ("agent.sandbox", "user_lib.wire"): "a worker has no link",
    ("agent.sandbox", "agent.signals"): "a worker gets a window, never the history",
}
SAME_FLOOR_ALLOWED = {("hw", "dbc"): "hw/simulated/"}
"""The simulated vehicle encodes its drive, and is the one part of hw that may import dbc."""


def room_of(module: str) -> str | None:
    rooms = [r for r in ROOMS if module == r or module.startswith(f"{r}.")]
    return max(rooms, key=len) if rooms else None


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def problem(importer: str, path: str, imported: str) -> str | None:
    """Say why ``importer`` (in the file ``path``) must not import ``imported``, if it must not."""
    here, there = room_of(importer), room_of(imported)
    if here is None or there is None or here == there:
        return None
    if (here, there) in FORBIDDEN:
        return FORBIDDEN[here, there]
    if ROOMS[there] < ROOMS[here]:
        return None
    if path.startswith(SAME_FLOOR_ALLOWED.get((here, there), "\0")):
        return None
    return f"{there} is on floor {ROOMS[there]}, not below floor {ROOMS[here]} of {here}"


def test_every_import_goes_down() -> None:
    found = [
        f"{module} imports {imported}: {why}"
        for module, path in modules()
        for imported in imports_of(path)
        if (why := problem(module, str(path.relative_to(ROOT)), imported)) is not None
    ]
    # `from user_lib import Result` in an analyst's example names the facade from outside
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("importer", "path", "imported"),
    [
        ("dbc.decoding.plan", "dbc/decoding/plan.py", "hw.source"),
        ("hw.replay", "hw/replay.py", "dbc.decoding.plan"),
        ("agent.sandbox.zygote", "agent/sandbox/zygote.py", "user_lib.wire.socket"),
        ("cloud.door.router", "cloud/door/router.py", "agent.tasks.table"),
        ("user_lib.fleet", "user_lib/fleet.py", "cloud.door.router"),
        ("user_lib.contract.codec", "user_lib/contract/codec.py", "user_lib.fleet"),
        ("agent.sandbox.pool", "agent/sandbox/pool.py", "agent.tasks.table"),
    ],
)
def test_an_upward_or_sideways_import_is_found(importer: str, path: str, imported: str) -> None:
    assert problem(importer, path, imported) is not None


@pytest.mark.parametrize(
    ("importer", "path", "imported"),
    [
        ("hw.simulated.car", "hw/simulated/car.py", "dbc.encode"),
        ("cloud.offboard.executor", "cloud/offboard/executor.py", "agent.sandbox"),
        ("user_lib.fleet", "user_lib/fleet.py", "agent.sandbox.methods"),
        ("agent.signals.pump", "agent/signals/pump.py", "hw"),
    ],
)
def test_a_downward_import_is_allowed(importer: str, path: str, imported: str) -> None:
    assert problem(importer, path, imported) is None


def test_no_module_stands_outside_the_rooms() -> None:
    assert [m for m, _ in modules() if room_of(m) is None] == []
