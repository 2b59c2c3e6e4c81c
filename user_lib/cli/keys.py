"""Keys on this machine: ``oodida keys create | show | enrol | revoke | rotate | list``."""

import argparse
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import msgspec

from user_lib.cli.options import HelpFormatter, Subparsers, add_command, show, show_json
from user_lib.cli.status import OK
from user_lib.contract.card import ROLES, Card
from user_lib.contract.errors import ConfigError
from user_lib.wire.enrolment import Enrolment, revoke
from user_lib.wire.key_rotation import finish_rotation, start_rotation
from user_lib.wire.keyring import Keyring
from user_lib.wire.keys import create_keys, load_card, load_keys, write_keys

__all__ = ["add_parser"]

_OWNERS = "analysts"
"""How the directory is called whose analysts a vehicle's owner trusts."""
_ABOUT = """\
Every vehicle, analyst, engineer and operator, and the cloud, has keys of its
own: NAME.key is secret and stays where it was made; NAME.pub, its card, goes
to those who shall know it.

  oodida keys create cloud --role cloud            on the cloud's machine
  oodida keys create kona-1 --role vehicle         on the vehicle
  oodida keys create ada --role analyst            on the analyst's machine
  oodida keys enrol kona-1.pub --into authorized   the cloud lets it in
  oodida keys enrol ada.pub --into analysts        a vehicle runs ada's code
  oodida keys revoke ada --from authorized         from the next message on

A directory of cards is read again as soon as it changes; nothing restarts.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the commands of this group."""
    keys = subparsers.add_parser(
        "keys",
        help="make, enrol and revoke keys",
        description=_ABOUT,
        formatter_class=HelpFormatter,
    )
    commands = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_own(commands)
    _add_directory(commands)


def _add_own(commands: Subparsers) -> None:
    create = add_command(
        commands, "create", about="make the keys of a new identity", cloud=False,
        example="oodida keys create kona-1 --role vehicle --dir /etc/oodida",
    )  # fmt: skip
    create.add_argument("name", help="names the vehicle, user or cloud")
    create.add_argument("--role", choices=ROLES, required=True)
    create.add_argument("--dir", type=Path, default=Path(), help="where to (default: here)")
    create.set_defaults(run=_create)
    shown = add_command(
        commands, "show", about="show whose keys a file holds, without the secrets", cloud=False,
        example="oodida keys show kona-1.pub",
    )  # fmt: skip
    shown.add_argument("file", type=Path, help="a .pub or .key file")
    shown.set_defaults(run=_show)
    rotate = add_command(
        commands, "rotate", about="make new keys for the same name, to take over once enrolled",
        example="oodida keys rotate kona-1.key\n"
        "  oodida keys enrol kona-1.next.pub --into authorized   wherever kona-1.pub is\n"
        "  oodida keys rotate kona-1.key --finish                once that is done everywhere",
        cloud=False,
    )  # fmt: skip
    rotate.add_argument("file", type=Path, help="the secret file in use")
    rotate.add_argument(
        "--finish", action="store_true", help="the new card is enrolled: let the new keys take over"
    )
    rotate.set_defaults(run=_rotate)


def _add_directory(commands: Subparsers) -> None:
    enrolled = add_command(
        commands, "enrol", about="let the owner of a card in, or trust it", cloud=False,
        example="oodida keys enrol kona-1.pub --into /etc/oodida/authorized",
    )  # fmt: skip
    enrolled.add_argument("cards", type=Path, nargs="+", metavar="CARD", help="a .pub file")
    enrolled.add_argument("--into", type=Path, required=True, metavar="DIR")
    enrolled.add_argument(
        "--until", metavar="DATE", help="a vehicle takes no new orders by it later: 2027-01-01"
    )
    enrolled.set_defaults(run=_enrol)
    revoked = add_command(
        commands, "revoke", about="shut out a name, or one of its keys, at once", cloud=False,
        example="oodida keys revoke kona-1 --from /etc/oodida/authorized",
    )  # fmt: skip
    revoked.add_argument("name", help="a name (all its keys) or the fingerprint of one key")
    revoked.add_argument("--from", type=Path, required=True, metavar="DIR", dest="directory")
    revoked.set_defaults(run=_revoke)
    listed = add_command(
        commands, "list", about="list the cards of a directory", cloud=False,
        example="oodida keys list /etc/oodida/authorized",
    )  # fmt: skip
    listed.add_argument("directory", type=Path)
    listed.set_defaults(run=_list)


def _create(args: argparse.Namespace) -> int:
    keys = create_keys(args.name, args.role)
    path = write_keys(keys, args.dir)
    _tell(args, keys.card, f"{path} (secret) and {path.with_suffix('.pub')} (for others)", path)
    return OK


def _show(args: argparse.Namespace) -> int:
    is_secret = args.file.suffix == ".key"
    card = load_keys(args.file).card if is_secret else load_card(args.file)
    _tell(args, card, f"link {card.curve}\nsign {card.sign}", args.file)
    return OK


def _rotate(args: argparse.Namespace) -> int:
    if args.finish:
        card, old = finish_rotation(args.file)
        words = f"{args.file} holds the new keys: restart who uses it, then revoke {old}"
        _tell(args, card, words, args.file)
        return OK
    card, path = start_rotation(args.file)
    words = f"{path} is for others to enrol; {args.file} stays in use until --finish"
    _tell(args, card, words, path)
    return OK


def _enrol(args: argparse.Namespace) -> int:
    until = "" if args.until is None else _date(args.until)
    cards = [load_card(path) for path in args.cards]
    _check_roles(cards, args.into)
    enrolment = Enrolment(args.into)
    for card in cards:
        card = msgspec.structs.replace(card, not_after=until)
        path = enrolment.add(card)
        _tell(args, card, f"enrolled in {path}", path)
    return OK


def _check_roles(cards: Sequence[Card], into: Path) -> None:
    """Refuse cards that would do nothing where a vehicle's owner keeps those of analysts.

    Raises: ConfigError.
    """
    wrong = [card for card in cards if card.role != "analyst"]
    if wrong and into.resolve().name == _OWNERS:
        raise ConfigError(
            f"{into}: {wrong[0].name} is a card of the role {wrong[0].role}, and a vehicle takes "
            "orders of analysts only; the cloud lets it in from its directory `authorized`"
        )


def _date(text: str) -> str:
    """Return a time to come with its zone, UTC by default. Raises: ConfigError."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--until: {text!r} is no date such as 2027-01-01") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    if moment <= dt.datetime.now(dt.UTC):
        raise ConfigError(
            f"--until: {text} is past; to end it now use `oodida keys revoke NAME --from DIR`"
        )
    return moment.isoformat()


def _revoke(args: argparse.Namespace) -> int:
    for card in revoke(args.name, args.directory):
        _tell(args, card, f"revoked in {args.directory}", args.directory)
    return OK


def _list(args: argparse.Namespace) -> int:
    cards = Keyring(args.directory).cards
    if args.json:
        show_json([_plain(card) for card in cards])
        return OK
    for card in cards:
        until = f" until {card.not_after}" if card.not_after else ""
        show(f"{card.name:<24} {card.role:<9} {card.fingerprint}{until}")
    return OK


def _tell(args: argparse.Namespace, card: Card, words: str, path: Path) -> None:
    if args.json:
        show_json({**_plain(card), "path": str(path)})
    else:
        show(f"{card.role} {card.name}, fingerprint {card.fingerprint}\n{words}")


def _plain(card: Card) -> dict[str, str]:
    plain: dict[str, str] = msgspec.to_builtins(card)
    return {**plain, "fingerprint": card.fingerprint}
