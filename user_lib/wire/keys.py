"""An identity's keys on disk: the secret file ``NAME.key``, and the card ``NAME.pub`` for others.

Each identity has a CURVE pair, which opens the link, and an Ed25519 pair, which signs. Secrets are
read from files only: never from an argument, the environment or a message. A secret file that
others could read is refused, since nobody knows who has.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec
import yaml
import zmq
import zmq.utils.z85 as z85
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.hmac import HMAC

from user_lib.contract.card import Card, PublicKey, Role
from user_lib.contract.errors import ConfigError
from user_lib.contract.ids import UserId, is_name
from user_lib.wire.config import load_config
from user_lib.wire.durable import sync_directory

__all__ = [
    "Keys",
    "LinkKeys",
    "card_text",
    "create_keys",
    "load_card",
    "load_keys",
    "read_link_keys",
    "write_card",
    "write_keys",
]

_SECRET_MODE = 0o600
_CARD_MODE = 0o644
_WIDE_CREDENTIAL = 0o037
_SECRET_HEAD = "# Secret keys of OODIDA. They stay on this machine; give others the .pub file.\n"  # noqa: S105 - words
_CARD_HEAD = "# Public keys of OODIDA: `oodida keys enrol` takes this file.\n"


class _Secrets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a secret file holds."""

    name: UserId
    role: Role
    curve: PublicKey
    sign: PublicKey
    curve_secret: PublicKey
    sign_secret: PublicKey


class Keys:
    """An identity with its secrets, which nothing here prints."""

    def __init__(self, card: Card, curve_secret: bytes, sign_secret: bytes) -> None:
        self.card = card
        self.curve_secret = curve_secret
        self._sign_secret = sign_secret
        self._signer = Ed25519PrivateKey.from_private_bytes(sign_secret)

    def sign(self, body: bytes) -> bytes:
        """Return the Ed25519 signature of ``body``."""
        return self._signer.sign(body)

    def derive(self, name: UserId) -> "Keys":
        """Return the keys that this secret makes for another name of its role; always the same.

        For simulated vehicles: whoever has this one secret has all of theirs.
        """
        derivation = HMAC(self._sign_secret, SHA512())
        derivation.update(f"oodida derive 1\n{name}".encode())
        made = derivation.finalize()
        return _keys_of(name, self.card.role, made[:32], made[32:])

    def secrets(self) -> Mapping[str, str]:
        """Return what the secret file holds."""
        card: dict[str, str] = msgspec.to_builtins(self.card)
        return {
            **card,
            "curve_secret": self.curve_secret.hex(),
            "sign_secret": self._sign_secret.hex(),
        }

    def __repr__(self) -> str:
        return f"<Keys of {self.card.role} {self.card.name}, {self.card.fingerprint}>"


class LinkKeys(msgspec.Struct, frozen=True):
    """What the client's end of a link needs: who it is, and whom it expects at the other end."""

    own: Keys
    cloud: Card


def create_keys(name: str, role: Role) -> Keys:
    """Make a new identity.

    Raises: ConfigError, when ``name`` is no name.
    """
    if not is_name(name):
        raise ConfigError(
            f"{name!r} cannot name an identity: letters, digits, dot, dash and underscore, at "
            "most 64, beginning with a letter or digit"
        )
    curve_secret = z85.decode(zmq.curve_keypair()[1])
    return _keys_of(name, role, curve_secret, Ed25519PrivateKey.generate().private_bytes_raw())


def _keys_of(name: str, role: Role, curve_secret: bytes, sign_secret: bytes) -> Keys:
    """Return the identity that two secrets make."""
    curve = z85.decode(zmq.curve_public(z85.encode(curve_secret)))
    sign = Ed25519PrivateKey.from_private_bytes(sign_secret).public_key().public_bytes_raw()
    card = Card(name=name, role=role, curve=curve.hex(), sign=sign.hex())
    return Keys(card, curve_secret, sign_secret)


def write_keys(keys: Keys, directory: Path, *, stem: str = "") -> Path:
    """Write ``NAME.key`` and ``NAME.pub``; return the path of the first.

    Raises: ConfigError, when one of them is there already or cannot be written.
    """
    path = directory / f"{stem or keys.card.name}.key"
    _write_new(path, _SECRET_HEAD + _yaml(keys.secrets()), _SECRET_MODE)
    write_card(keys.card, path.with_suffix(".pub"))
    return path


def write_card(card: Card, path: Path) -> None:
    """Write a card to a new file, which appears whole.

    Raises: ConfigError, as `write_keys`.
    """
    _write_new(path, card_text(card), _CARD_MODE)


def card_text(card: Card) -> str:
    """Return what a card's file holds."""
    return _CARD_HEAD + _yaml(msgspec.to_builtins(card))


def load_keys(path: Path, *roles: Role) -> Keys:
    """Read a secret file; ``roles``, when given, are those that will do.

    Raises: ConfigError, for a card, a file that others can read, that holds no keys, whose keys do
            not belong together, or of another role.
    """
    if path.suffix == ".pub":  # before its mode: others may read a card, which has no secrets
        raise ConfigError(f"{path}: is a card; the secret file is {path.with_suffix('.key')}")
    _check_private(path)
    held = load_config(path, _Secrets)
    card = Card(name=held.name, role=held.role, curve=held.curve, sign=held.sign)
    secrets = bytes.fromhex(held.curve_secret), bytes.fromhex(held.sign_secret)
    keys = _keys_of(held.name, held.role, *secrets)
    if keys.card != card:
        raise ConfigError(f"{path}: its public and secret keys do not belong together")
    _check_role(card, path, roles)
    return keys


def load_card(path: Path, *roles: Role) -> Card:
    """Read a card; ``roles``, when given, are those that will do.

    Raises: ConfigError, for a file that holds none, or of another role.
    """
    if path.suffix == ".key":
        raise ConfigError(f"{path}: is a secret file; its card is {path.with_suffix('.pub')}")
    card = load_config(path, Card)
    _check_role(card, path, roles)
    return card


def read_link_keys(own: Path, cloud: Path, *roles: Role) -> LinkKeys:
    """Read what the client's end of a link needs.

    Raises: ConfigError, as `load_keys` and `load_card`.
    """
    return LinkKeys(load_keys(own, *roles), load_card(cloud, "cloud"))


def _check_private(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; `oodida keys create` makes keys"
        ) from None
    if mode & (_WIDE_CREDENTIAL if _is_credential(path) else 0o077):
        raise ConfigError(
            f"{path}: others may read these secret keys (mode {mode:04o}); run `chmod 600 {path}`, "
            "and make new keys if anybody did"
        )


def _is_credential(path: Path) -> bool:
    """Whether the service manager gave this file to this service alone.

    It lets the service in by an access list, which shows as a right of the group.
    """
    given = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(given) and path.absolute().parent == Path(given)


def _check_role(card: Card, path: Path, roles: tuple[Role, ...]) -> None:
    if roles and card.role not in roles:
        raise ConfigError(
            f"{path}: is of the {card.role} {card.name}; needed is one of: {', '.join(roles)}"
        )


def _yaml(content: Mapping[str, str]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False)


def _write_new(path: Path, text: str, mode: int) -> None:
    """Write a file under another name first, so that nobody reads half of it."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a rename, this never replaces
        sync_directory(path.parent)  # a power cut leaves the file that it names
    except FileExistsError:
        raise ConfigError(f"{path}: is there already; keys are never overwritten") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
