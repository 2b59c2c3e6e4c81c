"""How a vehicle's buses are, in a few words, from the counters that it tells."""

from collections.abc import Mapping

__all__ = ["buses_in_words"]

_WORDS = (
    ("source.disconnected", "{:.0f} away"),
    ("source.ended", "{:.0f} ended"),
    ("frames.dropped", "{:.0f} frames lost"),
    ("frames.errors", "{:.0f} error frames"),
    ("source.bus_offs", "{:.0f} times bus-off"),
)


def buses_in_words(stats: Mapping[str, float]) -> str | None:
    """Return ``ok``, or what is wrong and was lost since the agent began; None: it told nothing."""
    if "frames.total" not in stats:
        return None
    said = [words.format(stats[name]) for name, words in _WORDS if stats.get(name)]
    return ", ".join(said) or "ok"
