"""Claims about where a decode works: blocks that end with sentences, canvases that grow, models trained on blocks."""

from __future__ import annotations

from statistics import fmean

from .canvas import CLOSE, QUICK, RIGHT, Filled, Filling, Work, told
from .contract import Claim, Figures, at_least, at_most
from .lab import Lab, Worked

LINES = Work(("letter", "table_sentences", "sudoku"), canvas=64, count=6)  # answers of several lines
WIDE = 128  # positions: four times what is needed
FEW = 4  # questions of each kind on such canvases


def positions(side: Filled) -> float:
    """How long canvases have become, on average."""
    longest = [max(max(step.places) for step in each.steps) + 1 - len(each.prompt_tokens) for each in side.answers]
    return fmean(longest)


def growing(lab: Lab) -> Figures:
    """A canvas that grows as needed, beside one that is known to fit, and one that is much too long."""
    work = Work(count=FEW)
    structured = "weld+structured-blocks+end-of-text"
    found = {
        "growing": Work(canvas=WIDE, count=FEW, fitting=work.canvas).by(lab, structured),
        "fitting": work.by(lab, QUICK),
        "too long": Work(canvas=WIDE, count=FEW, fitting=work.canvas).by(lab, "threshold+end-of-text"),
    }
    figures = told(found, ("right", "rounds", "token-forwards"))
    return figures | {f"positions, {name}": positions(side) for name, side in found.items() if name == "growing"}


CLAIMS = (
    Claim(
        "adablock",
        "adablock",
        "blocks that end with lines: up to 5.3 % more is right, at the speed of blocks of one size",
        f"{RIGHT}; rounds an answer",
        Filling(
            {
                "to the line's end": "threshold+adaptive-blocks+dual-cache+end-of-text",
                "of one size": "threshold+blocks(32)+dual-cache+end-of-text",
            },
            work=LINES,
        ),
        (
            at_least("right, to the line's end", 1.0, "right, of one size"),
            at_most("rounds, to the line's end", 1.1, "rounds, of one size"),
        ),
        number=34,
        where_not="the lines here are shorter than a block, so there are more blocks, and each takes a round at least",
    ),
    Claim(
        "dystruct",
        "dystruct",
        "a canvas that grows is as right as one whose length is known, and not much longer than the answer",
        f"{RIGHT}; rounds and token-forwards an answer; positions of the canvas in the end",
        Worked(
            growing,
            f"`weld+structured-blocks+end-of-text` up to {WIDE} positions; `{QUICK}` on {Work().canvas}; "
            f"`threshold+end-of-text` on {WIDE}; the kinds {', '.join(Work().kinds)}, {FEW} of each",
        ),
        (
            at_least("right, growing", 1.0, "right, too long"),
            at_least("right, growing", CLOSE, "right, fitting"),
            at_most("token-forwards, growing", 1.0, "token-forwards, too long"),
            at_most("positions, growing", 1.3 * Work().canvas),
        ),
        number=63,
    ),
    Claim(
        "fast-dllm-v2",
        "fast-dllm-v2",
        "a causal model taught to fill blocks: up to 2.5 times as fast as one token at a time, and as right",
        f"{RIGHT}; rounds a token",
        Filling(
            {
                "blocks": "threshold+block-cache+end-of-text",
                "blocks of 8": "threshold+blocks(8)+block-cache+end-of-text",
                "left to right": "low-confidence+blocks(1)+block-cache+end-of-text",
            },
            ("right", "rounds a token"),
            Work(model="block"),
        ),
        (
            at_most("rounds a token, blocks", 1 / 2, "rounds a token, left to right"),
            at_least("right, blocks", CLOSE, "right, left to right"),
        ),
        number=153,
        where_not="so short a training taught this small twin to fill blocks only roughly: what it is sure of at .9 "
        "is too often wrong",
    ),
)
