"""``oodida doctor``: why is there no data?"""

import argparse
from typing import TYPE_CHECKING

from user_lib.cli.options import Subparsers, add_command, open_fleet, show, show_json
from user_lib.cli.status import FAILED, OK
from user_lib.contract.errors import Rejected, nearest

if TYPE_CHECKING:
    from user_lib.doctor.diagnosis import Diagnosis
    from user_lib.fleet import Fleet

__all__ = ["add_parser"]


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    doctor = add_command(
        subparsers, "doctor", about="say along the chain why there is no data",
        example="oodida doctor job-0123456789\n  oodida doctor compact-1",
    )  # fmt: skip
    doctor.add_argument("what", metavar="JOB|VEHICLE", help="a job's id, or a vehicle's")
    doctor.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    """Diagnose, and return 1 when a chain is broken."""
    from user_lib.doctor.diagnosis import diagnosis_text

    with open_fleet(args) as fleet:
        diagnoses = _diagnoses(fleet, args.what)
    show_json(list(diagnoses)) if args.json else show(diagnosis_text(diagnoses))
    return FAILED if any(d.broken is not None for d in diagnoses) else OK


def _diagnoses(fleet: "Fleet", what: str) -> "tuple[Diagnosis, ...]":
    from user_lib.doctor.chain import diagnose, vehicle_links

    vehicles = {info.vehicle_id: info for info in fleet.vehicles()}
    if what in vehicles:
        return (vehicle_links(vehicles[what]),)
    try:
        explanation = fleet.job(what).explanation()
    except Rejected as error:
        near = nearest(what, vehicles)
        hint = f"did you mean {' or '.join(near)}?" if near else str(error)
        raise Rejected(
            f"there is no job and no vehicle {what!r}; {hint}", reason=error.reason, near=near
        ) from None
    signals = {}
    for member in explanation.members[:100]:  # each is a question to the cloud
        try:
            signals[member.vehicle_id] = {s.name for s in fleet.signals(member.vehicle_id)}
        except Rejected:
            continue  # a vehicle that the cloud has never seen tells none
    told = {vehicle: names for vehicle, names in signals.items() if names}
    return diagnose(explanation, vehicles, told)
