"""What each built-in method lets out of a window: single values, or only sums over many samples.

The one table that an owner's rules go by. A method counts as raw as soon as any part of its answer
(value, partial, state) can be a single sample's value, or be made to tell one by parameters of the
analyst's choice. Custom code and external workers are raw, whatever they compute.

Even an aggregate tells single values to who may ask for many that overlap: the sum of ten samples
less the sum of nine of them is one sample. Rules on aggregates ask for a number of samples an
iteration; they do not follow what an analyst subtracts, over several tasks, from what.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DISCLOSURE", "Disclosure", "shares_raw"]


@dataclass(frozen=True, slots=True)
class Disclosure:
    """Whether a method shares single values, and by what."""

    raw: bool
    why: str


DISCLOSURE: Mapping[str, Disclosure] = {
    "collect": Disclosure(True, "its value is the samples"),
    "count": Disclosure(False, "a number of samples; with it n, sum and m2 to merge by"),
    "histogram": Disclosure(True, "a bin of the analyst's choice that holds one sample is it"),
    "least_squares": Disclosure(True, "a feature is held: one sample can stand behind all rows"),
    "logistic_regression": Disclosure(True, "weights of the analyst's choice select samples"),
    "max": Disclosure(True, "its value is a sample"),
    "mean": Disclosure(False, "a sum over all samples; with it n, sum and m2 to merge by"),
    "median": Disclosure(True, "its value is a sample, or lies between two"),
    "min": Disclosure(True, "its value is a sample"),
    "quantiles": Disclosure(True, "its values are samples, or lie between two"),
    "sample": Disclosure(True, "its value is samples"),
    "std": Disclosure(False, "a sum of squares over all samples; with it n, sum and m2"),
    "sum": Disclosure(False, "a sum over all samples; with it n, sum and m2 to merge by"),
    "threshold": Disclosure(True, "its value is the samples beyond a threshold"),
    "wordcount": Disclosure(True, "a word of the analyst's choice, counted once, is a sample"),
}


def shares_raw(method: str) -> bool:
    """Whether a method can share single values; what is not in the table can."""
    known = DISCLOSURE.get(method)
    return known is None or known.raw
