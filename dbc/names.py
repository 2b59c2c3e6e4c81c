"""Find signals by name among thousands, and the nearest names when there is none."""

from collections import Counter
from collections.abc import Iterable

__all__ = ["NameIndex"]

_CANDIDATES = 40
_LEAST_ALIKE = 0.55


class NameIndex:
    """Names, and a trigram index of them that is built at the first miss."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._by_trigram: dict[str, list[int]] | None = None

    def nearest(self, name: str, *, most: int = 3) -> tuple[str, ...]:
        """Return the known names closest to ``name``, best first; empty when none is close."""
        from difflib import SequenceMatcher  # at the first miss, as the index

        if self._by_trigram is None:
            self._by_trigram = {}
            for index, known in enumerate(self._names):
                for trigram in _trigrams(known):
                    self._by_trigram.setdefault(trigram, []).append(index)
        shared: Counter[int] = Counter()
        for trigram in _trigrams(name):
            shared.update(self._by_trigram.get(trigram, ()))
        wanted = _folded(name)
        scored = []
        for index, _ in shared.most_common(_CANDIDATES):
            known = self._names[index]
            likeness = SequenceMatcher(None, wanted, _folded(known), autojunk=False).ratio()
            if likeness >= _LEAST_ALIKE or _folded(known).endswith(wanted):
                scored.append((-likeness, known))
        return tuple(known for _, known in sorted(scored)[:most])


def _folded(name: str) -> str:
    return name.casefold().replace("_", "")


def _trigrams(name: str) -> set[str]:
    padded = f" {_folded(name)} "
    return {padded[i : i + 3] for i in range(len(padded) - 2)}
