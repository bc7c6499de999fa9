"""Claims of the lossless: the steps of the same order, several in a round."""

from __future__ import annotations

from .canvas import ONE, Filling, Work
from .contract import Claim, at_least, at_most, equal

KEPT = "low-confidence+blocks(32)+dual-cache+end-of-text"
MEASURE = "rounds an answer; share of answers that are those of the order alone"

CLAIMS = (
    Claim(
        "freedave",
        "freedave",
        "canvases of the next steps are evaluated beside the present one: up to 3.78 times as fast, the same output",
        MEASURE,
        Filling(
            {
                "one by one": ONE,
                "4 ahead": "low-confidence+blocks(32)+end-of-text+freedave(4)",
            },
            ("rounds", "as the first"),
            Work(count=2),
        ),
        (
            at_most("rounds, 4 ahead", 1 / 1.5, "rounds, one by one"),
            equal("as the first, 4 ahead", 1.0),
        ),
        number=26,
    ),
    Claim(
        "ssd",
        "ssd",
        "drafts of its own, verified as a chain, with a dual cache: 2.1 to 3.5 times as fast, the same output",
        MEASURE,
        Filling(
            {"one by one": KEPT, "ssd": f"{KEPT}+ssd(4)", "freedave": f"{KEPT}+freedave(4)"},
            ("rounds", "as the first"),
            Work(count=2),
        ),
        (
            at_most("rounds, ssd", 1 / 1.5, "rounds, one by one"),
            at_most("rounds, ssd", 1.0, "rounds, freedave"),
            at_least("rounds, ssd", 1.0, "rounds, freedave"),
            equal("as the first, ssd", 1.0),
            equal("as the first, freedave", 1.0),
        ),
        number=94,
    ),
)
