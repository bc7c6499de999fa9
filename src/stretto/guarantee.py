"""What is guaranteed for one answer: by its method, and by how its model computes. Said in one line, here alone."""

from __future__ import annotations

from .entry import Guarantee
from .models.numbers import TIE, Numbers

BEYOND = {  # what a method promises that does not promise plain decoding's tokens
    Guarantee.APPROXIMATE: "approximate: the settings of the method trade likeness to the exact answer for speed",
    Guarantee.NONE: "none: the method defines another answer than plain decoding's",
}
UNREPEATED = "; lengths that are measured change these tokens: a seed does not repeat them"


def guarantee(method: Guarantee, numbers: Numbers, *, greedy: bool, repeats: bool = True) -> str:
    """The guarantee of a method under a model's numbers; `greedy`: nothing is left to chance.

    Begins with `exact bits`, `exact tokens`, `exact up to rounding`, `exact in distribution`, `approximate` or `none`;
    ends by saying so where a seed does not give the same tokens again.
    """
    return _likeness(method, numbers, greedy) + ("" if repeats else UNREPEATED)


def _likeness(method: Guarantee, numbers: Numbers, greedy: bool) -> str:
    """How like plain decoding's the answer is."""
    if method in BEYOND:
        return BEYOND[method]
    if method is Guarantee.DISTRIBUTION and not greedy:
        rounding = f", up to the rounding of {numbers.rounded}" if numbers.rounded else ""
        return f"exact in distribution: drawn as plain decoding draws, other tokens{rounding}"
    if numbers.bits:
        return "exact bits: tokens and log-probabilities of plain decoding, drafted or not, alone or in a batch"
    if numbers.rounded:
        return (
            f"exact up to rounding: that of {numbers.rounded} can change tokens between plain, drafted and batched "
            "decoding; exact='bits' rules that out"
        )
    return f"exact tokens: those of plain decoding, but where the two best scores lie within {TIE:g}"
