"""New keys for the same name: made beside the old, which stay in use until the new are enrolled."""

from pathlib import Path

from user_lib.contract.card import Card
from user_lib.contract.errors import ConfigError
from user_lib.wire.keys import create_keys, load_keys, write_keys

__all__ = ["finish_rotation", "start_rotation"]


def start_rotation(path: Path) -> tuple[Card, Path]:
    """Make new keys as ``NAME.next.key``; return their card and its file, which is to be enrolled.

    Raises: ConfigError, when ``path`` holds no keys, or the next ones are there already.
    """
    card = load_keys(path).card
    made = write_keys(create_keys(card.name, card.role), path.parent, stem=f"{path.stem}.next")
    return load_keys(made).card, made.with_suffix(".pub")


def finish_rotation(path: Path) -> tuple[Card, str]:
    """Let the next keys take the place of those in ``path``, which become ``NAME.old.key``.

    Returns the new card and the fingerprint of the old one, which is to be revoked.

    Raises: ConfigError, when no rotation was begun, or the files cannot be renamed.
    """
    old = load_keys(path).card
    following = path.with_name(f"{path.stem}.next.key")
    if not following.exists():
        raise ConfigError(f"{following}: is not there; begin with `oodida keys rotate {path}`")
    new = load_keys(following, old.role).card
    try:
        for suffix in (".key", ".pub"):
            current = path.with_suffix(suffix)
            if current.exists():
                current.replace(path.with_name(f"{path.stem}.old{suffix}"))
            path.with_name(f"{path.stem}.next{suffix}").replace(current)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be replaced: {error.strerror}") from None
    return new, old.fingerprint
