"""Claims about the path that a decode takes: what comes late, what is looked at again, what is written over."""

from __future__ import annotations

import math
import random

from ...generation import Generation
from ...models.masked import Masking
from ...models.table import MaskedTable, Seen
from .canvas import ONE, RIGHT, SHORT, Filling, written_down
from .contract import Claim, Figures, at_least, at_most
from .lab import Lab, Worked

PADDING = 16  # end tokens behind an answer in training, about
TEXTS = "{store " + " ".join(f"gym:{kind}" for kind in SHORT) + "}"
WORDS, LETTERS, ALPHABET = 8, 8, 4  # right answers of the table, and what they are made of
WRONG = 0.05  # share of what is seen that is wrong, as the corrector was told
SAMPLES = 200


def corrector(words: list[list[int]]) -> MaskedTable:
    """A model that knows the right answers, and that a share of what it sees is wrong: the ideal of its training."""
    mask = ALPHABET

    def says(position: int, seen: Seen) -> list[float]:
        chances = [1e-12] * (ALPHABET + 1)
        for word in words:
            fits = [
                WRONG / ALPHABET + (1 - WRONG) * (seen[1 + at] == letter)
                for at, letter in enumerate(word)
                if seen.get(1 + at, mask) != mask
            ]
            chances[word[position - 1] if position else 0] += math.prod(fits)
        return [math.log(chance) for chance in chances]

    return MaskedTable(ALPHABET + 1, says, Masking(mask))


def corrected(lab: Lab) -> Figures:
    """The share of sampled answers that are right, two letters a step: written once, and written over."""
    rng = random.Random(f"words/{lab.seed}")
    words = [[rng.randrange(ALPHABET) for _ in range(LETTERS)] for _ in range(WORDS)]
    engine = written_down(corrector(words))
    steps = LETTERS // 2
    figures: Figures = {}
    for name, method in (("plain", f"low-confidence(steps={steps})"), ("revising", f"revise(steps={steps})")):
        found = engine.generate(
            [[0]], method, samples=SAMPLES, max_new_tokens=LETTERS, temperature=1.0, seed=lab.seed, end_tokens=()
        )
        figures[name] = sum(_is_word(each, words) for each in found) / SAMPLES
    return figures


def _is_word(found: Generation, words: list[list[int]]) -> bool:
    return found.tokens in words


CLAIMS = (
    Claim(
        "pc-sampler",
        "pc-sampler",
        "over 10 % more is right where common tokens do not come first, and the start of a canvas before its end",
        f"{RIGHT}; share of end tokens in the first half of what is filled",
        Filling(
            {
                "position-aware": f"position-aware({TEXTS},padding={PADDING})+blocks(32)+end-of-text",
                "low-confidence": ONE,
            },
            ("right", "early ends"),
        ),
        (
            at_least("right, position-aware", 1.0, "right, low-confidence"),
            at_most("early ends, position-aware", 1 / 2, "early ends, low-confidence"),
        ),
        number=101,
        where_not="two questions of 24 less are right; the early ends are gone as promised",
    ),
    Claim(
        "rediff-ideal",
        "rediff",
        "the same for a perfect corrector, which knows all answers, and that 5 % of what it sees is wrong",
        "share of sampled answers that are right",
        Worked(
            corrected,
            f"`revise(steps={LETTERS // 2})`, `low-confidence(steps={LETTERS // 2})` on a table of {WORDS} words of "
            f"{LETTERS} of {ALPHABET} letters; T=1, {SAMPLES} samples",
        ),
        (at_least("revising", 1.1, "plain"),),
        number=14,
    ),
)
