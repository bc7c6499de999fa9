"""What a published system declares about itself, beside its principal part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Guarantee(Enum):
    """What holds between the output and plain decoding by the same model and settings."""

    EXACT = "exact"  # the same tokens, greedy and with a seed
    DISTRIBUTION = "exact in distribution"  # other tokens, drawn from the same distribution
    APPROXIMATE = "approximate"  # a knob trades fidelity; its extreme setting is exact
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the catalogue of methods.

    `number` is the system's number in the catalogue of methods this project implements, None for the base
    techniques that everything stands on. `parts` is the text form that `method="…"` takes.
    """

    name: str
    family: str
    source: str  # paper with its arXiv id, or the repository it was published in
    parts: str
    guarantee: Guarantee
    number: int | None = None
    needs: tuple[str, ...] = ()  # beyond a causal model: "draft model", "hidden states", …
    confirmed: bool = True  # False: the published description leaves details open
    summary: str = ""
