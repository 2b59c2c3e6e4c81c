"""Signatures over bytes: made with a secret that is elsewhere, verified with cards.

Ed25519 over a line that says what kind of thing is signed, and the bytes: so a signature of one
kind is never good for another.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar, cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from user_lib.contract.card import Card
from user_lib.contract.errors import SignatureError
from user_lib.contract.messages import Losses, Result, TaskEnded
from user_lib.contract.signed import AssignmentOrder, CancelOrder, Signed, SlotOrder

__all__ = [
    "Kind",
    "Signer",
    "open_assignment",
    "open_cancel",
    "open_slot",
    "seal",
    "sign_item",
    "verify_item",
]

Signer: TypeAlias = Callable[[bytes], bytes]
"""Returns the Ed25519 signature of bytes."""
Kind: TypeAlias = Literal["assignment", "slot", "cancel", "result", "end", "losses"]
Order = TypeVar("Order", AssignmentOrder, SlotOrder, CancelOrder)
Item = TypeVar("Item", bound=Result | TaskEnded | Losses)

REMEMBERED_BYTES = 64 * 1024
"""Larger bodies are verified anew each time: what is remembered stays small."""

_ENCODER = msgspec.msgpack.Encoder()
_ORDERS: Mapping[type, Kind] = {
    AssignmentOrder: "assignment",
    SlotOrder: "slot",
    CancelOrder: "cancel",
}
_ITEMS: Mapping[type, Kind] = {Result: "result", TaskEnded: "end", Losses: "losses"}
_DECODERS: Mapping[type, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in _ITEMS
}


def seal(order: AssignmentOrder | SlotOrder | CancelOrder, signer: Signer) -> Signed:
    """Return an order with its signature."""
    body = _ENCODER.encode(order)
    return Signed(body=body, signature=signer(_framed(_ORDERS[type(order)], body)))


def open_assignment(signed: Signed, cards: Iterable[Card]) -> AssignmentOrder:
    """Return an assignment's order, once one of ``cards`` (all of one name) verifies it.

    Raises: SignatureError, when none does, or it is of another than who signed it.
    """
    return _open(signed, "assignment", AssignmentOrder, cards)


def open_slot(signed: Signed, cards: Iterable[Card]) -> SlotOrder:
    """Return a slot's order, as `open_assignment`."""
    return _open(signed, "slot", SlotOrder, cards)


def open_cancel(signed: Signed, cards: Iterable[Card]) -> CancelOrder:
    """Return an order that ends an assignment, as `open_assignment`."""
    return _open(signed, "cancel", CancelOrder, cards)


def sign_item(item: Item, signer: Signer) -> Item:
    """Return an item of an outbox with the signature of the vehicle that it is of.

    It is brought into the form that the other ends decode it to (an integer in a field of floats
    becomes one), so that encoding it again gives the signed bytes.
    """
    item = _decoded(item)
    signature = signer(_framed(_ITEMS[type(item)], _body_of(item)))
    return msgspec.structs.replace(item, signature=signature)


def verify_item(item: Result | TaskEnded | Losses, cards: Iterable[Card]) -> Card:
    """Return the card that verifies a result, the end of a task, or a record of losses.

    What the cloud adds to a result (``late``) is not part of what is signed.

    Raises: SignatureError, when it is not signed, or none of the cards verifies it.
    """
    kind = _ITEMS[type(item)]
    if not item.signature:
        raise SignatureError(f"the {kind} is not signed")
    try:
        body = _body_of(item)
    except RecursionError:
        raise SignatureError(f"the {kind} is nested too deep to verify its signature") from None
    return _verify(kind, body, item.signature, cards)


def _decoded(item: Item) -> Item:
    """Return an item as it is once it was encoded and decoded.

    What a method gave back is of no type that would change it, and may be long: it stays as it is.
    """
    if not isinstance(item, Result):
        return _round_trip(item)
    rest = _round_trip(msgspec.structs.replace(item, value=None, partial=None))
    return msgspec.structs.replace(rest, value=item.value, partial=item.partial)


def _round_trip(item: Item) -> Item:
    return cast(Item, _DECODERS[type(item)].decode(_ENCODER.encode(item)))


def _body_of(item: Result | TaskEnded | Losses) -> bytes:
    if isinstance(item, Result):
        return _ENCODER.encode(msgspec.structs.replace(item, late=False, signature=b""))
    return _ENCODER.encode(msgspec.structs.replace(item, signature=b""))


def _open(signed: Signed, kind: Kind, into: type[Order], cards: Iterable[Card]) -> Order:
    card = _verify(kind, signed.body, signed.signature, cards)
    try:
        order = msgspec.msgpack.decode(signed.body, type=into)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise SignatureError(f"what was signed is no order: {error}") from None
    if order.analyst != card.name:
        raise SignatureError(f"an order of {order.analyst}, signed by {card.name}")
    return order


def _verify(kind: Kind, body: bytes, signature: bytes, cards: Iterable[Card]) -> Card:
    tried = []
    for card in cards:
        again = kind in _ORDERS.values() and len(body) <= REMEMBERED_BYTES
        holds = _known_to_hold if again else _holds
        if holds(kind, body, signature, card.sign):
            return card
        tried.append(f"{card.name} ({card.fingerprint})")
    raise SignatureError(
        f"the signature of the {kind} is not of {', '.join(tried)}"
        if tried
        else f"nobody is known who could have signed the {kind}"
    )


def _holds(kind: Kind, body: bytes, signature: bytes, sign: str) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(sign))
        key.verify(signature, _framed(kind, body))
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=64)
def _known_to_hold(kind: Kind, body: bytes, signature: bytes, sign: str) -> bool:
    """Remember the answer, which no time changes: an order comes again until its end is told.

    Whether the key is trusted is asked each time, by who gives the cards.
    """
    return _holds(kind, body, signature, sign)


def _framed(kind: Kind, body: bytes) -> bytes:
    return f"oodida {kind} 1\n".encode() + body
