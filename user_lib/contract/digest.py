"""SHA-256, by the OpenSSL that is in memory anyway.

`hashlib` brings the system's OpenSSL along: 3.5 MB of an on-board unit, beside the one inside the
package `cryptography`, which whoever has keys has loaded. So what a vehicle runs takes hashes from
here, at the same speed, and imports neither `hashlib` nor what imports it (`hmac`, `secrets`). It
is loaded at the first hash: a worker of the sandbox, which takes none, has no cryptography at all.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import Hash

__all__ = ["sha256", "sha256_of"]


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of some bytes.

    >>> sha256(b"abc").hex()[:16]
    'ba7816bf8f01cfea'
    """
    return sha256_of((data,))


def sha256_of(parts: Iterable[bytes]) -> bytes:
    """Return the SHA-256 of bytes that come in parts, of which only one is held at a time."""
    running = _algorithm()()
    for part in parts:
        running.update(part)
    return running.finalize()


@cache
def _algorithm() -> "Callable[[], Hash]":
    from cryptography.hazmat.primitives.hashes import SHA256, Hash

    kind = SHA256()
    return lambda: Hash(kind)
