"""What others may know of an identity: its name, its role and its two public keys."""

import datetime as dt
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

from user_lib.contract.digest import sha256
from user_lib.contract.ids import UserId

__all__ = ["ROLES", "Card", "PublicKey", "Role"]

Role: TypeAlias = Literal["vehicle", "analyst", "engineer", "operator", "cloud"]
ROLES: tuple[Role, ...] = get_args(Role)
PublicKey: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in hex."""


class Card(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An identity as it is enrolled: who is in possession of the secret keys is this."""

    name: UserId
    role: Role
    curve: PublicKey
    """Opens the link (CURVE)."""
    sign: PublicKey
    """Verifies signatures (Ed25519)."""
    not_after: str = ""
    """ISO 8601 with a zone, written by who enrols it: new orders signed later are not taken."""

    def expired(self, unix_ns: int) -> bool:
        """Whether new orders are no longer taken at a time, ns since the Unix epoch.

        A date that cannot be read has passed: who wrote it wanted an end.
        """
        if not self.not_after:
            return False
        try:
            until = dt.datetime.fromisoformat(self.not_after)
        except ValueError:
            return True
        if until.tzinfo is None:
            until = until.replace(tzinfo=dt.UTC)
        return unix_ns >= until.timestamp() * 1e9

    @property
    def fingerprint(self) -> str:
        """A short name of the two keys, to compare by eye."""
        return sha256(bytes.fromhex(self.curve + self.sign)).hex()[:16]
