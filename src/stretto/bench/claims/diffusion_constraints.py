"""Claims about grammars on a canvas: what comes out is a sentence, whatever the model wants."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from ...errors import Unsupported
from ...generation import Generation
from ...models.masked import Masking
from ...models.table import MaskedTable
from .canvas import RIGHT, Work, told, written_down
from .contract import Claim, Figures, at_least, at_most, equal
from .lab import Lab, Worked

NESTED = "S -> 0 S 1 | 0 1\n"  # as many 0 as 1 after them
MODELS = 24  # random tables
POSITIONS, STEPS = 6, 3
MASK, END = 5, 2
SIDES = {
    "alone": "",
    "exact gaps": "+grammar({nested})",
    "gaps of any length": "+grammar({nested},gap=any)",
    "lave": "+lave({nested})",
}
RECORDS = Work(("extract_json",), canvas=64, count=4)
QUICKLY = "low-confidence(steps=16)+end-of-text"  # four tokens a step


def nested(lab: Lab) -> Figures:
    """The share of sampled answers of random models, two tokens a step, that are sentences of the nested language."""
    place = lab.folder / "nested"
    place.write_text(NESTED, "utf-8")
    figures: Figures = {}
    for name, constraint in SIDES.items():
        method = f"low-confidence(steps={STEPS})+end-of-text{constraint.format(nested=place)}"
        valid = 0
        for seed in range(MODELS):
            model = MaskedTable.random_masked(6, MODELS * lab.seed + seed, Masking(MASK), sharpness=2.0)
            settings = {"max_new_tokens": POSITIONS, "end_tokens": [END], "temperature": 1.0, "seed": seed}
            try:
                valid += is_nested(written_down(model).generate([4, 4], method, **settings).tokens)
            except Unsupported:  # what is left can be filled with nothing
                continue
        figures[name] = valid / MODELS
    return figures


def is_nested(tokens: Sequence[int]) -> bool:
    """By a regular expression and a count."""
    text = "".join(map(str, tokens[: tokens.index(END)] if END in tokens else tokens))
    found = re.fullmatch("(0+)(1+)", text)
    return found is not None and len(found[1]) == len(found[2])


def is_json(answer: Generation) -> bool:
    """Whether Python reads it."""
    try:
        json.loads(answer.text)
    except ValueError:
        return False
    return True


def records(lab: Lab) -> Figures:
    """Answers in JSON, four tokens a step."""
    found = {name: RECORDS.by(lab, QUICKLY + rest) for name, rest in (("alone", ""), ("grammar", "+grammar(json)"))}
    figures: Figures = {f"valid, {name}": side.share(map(is_json, side.answers)) for name, side in found.items()}
    return figures | told(found, ("right",))


RANDOM = f"{MODELS} random tables, {POSITIONS} positions in {STEPS} steps, the nested language 0ⁿ1ⁿ; T=1"

CLAIMS = (
    Claim(
        "cfg-diffusion",
        "cfg-diffusion",
        "what is filled always leaves a sentence possible, so that one comes out; without the grammar hardly ever",
        "share of answers that are sentences",
        Worked(nested, f"`low-confidence` alone, with `grammar`, with `lave` on {RANDOM}"),
        (equal("exact gaps", 1.0), at_most("alone", 0.9)),
        number=53,
    ),
    Claim(
        "cfg-diffusion-json",
        "cfg-diffusion",
        "nearly all answers are valid, and up to 7 % more are right",
        f"share of answers that are JSON; {RIGHT}",
        Worked(records, f"`{QUICKLY}` alone, with `grammar(json)` on {RECORDS}; T=0"),
        (
            at_least("valid, grammar", 0.99),
            at_least("valid, grammar", 1.0, "valid, alone"),
            at_least("right, grammar", 1.0, "right, alone"),
        ),
        number=53,
    ),
    Claim(
        "lave",
        "lave",
        "an accepted token always has a filling that was read, so that more is valid than with gaps of any length",
        "share of answers that are sentences",
        Worked(nested, f"`low-confidence` alone, with `grammar`, with `lave` on {RANDOM}"),
        (at_least("lave", 0.99), at_least("lave", 1.0, "gaps of any length"), at_most("alone", 0.9)),
        number=56,
    ),
)
