"""What there is to ask: ``oodida vehicles``, ``signals``, ``methods``, ``schema``."""

import argparse

from user_lib.cli.options import Subparsers, add_command, open_fleet, show, show_json
from user_lib.cli.status import OK
from user_lib.contract.assignment import json_schema
from user_lib.contract.errors import AssignmentError, nearest

__all__ = ["add_parser"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the commands of this group."""
    vehicles = add_command(
        subparsers, "vehicles", about="list the vehicles that the cloud knows",
        example="oodida vehicles --json | jq -r '.[] | select(.online) | .vehicle_id'",
    )  # fmt: skip
    vehicles.set_defaults(run=_vehicles)
    signals = add_command(
        subparsers, "signals", about="list what a vehicle can be asked for",
        example="oodida signals compact-1 | grep Speed",
    )  # fmt: skip
    signals.add_argument("vehicle", help="a vehicle's id")
    signals.set_defaults(run=_signals)
    methods = add_command(
        subparsers, "methods", about="list the built-in methods and what they take",
        example="oodida methods histogram", cloud=False,
    )  # fmt: skip
    methods.add_argument("method", nargs="?", help="tell all there is about this one")
    methods.set_defaults(run=_methods)
    schema = add_command(
        subparsers, "schema", about="print the assignment grammar as a JSON Schema",
        example="oodida schema > assignment.schema.json", cloud=False,
    )  # fmt: skip
    schema.set_defaults(run=_schema)


def _vehicles(args: argparse.Namespace) -> int:
    with open_fleet(args) as fleet:
        table = fleet.vehicles()
    show_json(list(table)) if args.json else show(repr(table))
    return OK


def _signals(args: argparse.Namespace) -> int:
    with open_fleet(args) as fleet:
        table = fleet.signals(args.vehicle)
    show_json(list(table)) if args.json else show(repr(table))
    return OK


def _methods(args: argparse.Namespace) -> int:
    from user_lib.methods import method_table, method_text  # loads numpy

    table = method_table()
    if args.method is None:
        show_json(list(table)) if args.json else show(repr(table))
        return OK
    found = [method for method in table if method.name == args.method]
    if not found:
        names = sorted({method.name for method in table})
        near = nearest(args.method, names) or names
        raise AssignmentError(f"no method {args.method!r}; there is {', '.join(near)}")
    show_json(found) if args.json else show("\n\n".join(map(method_text, found)))
    return OK


def _schema(args: argparse.Namespace) -> int:
    show_json(json_schema())
    return OK
