"""The map of the methods that fill masks, along the axes of a survey of diffusion language models (arXiv 2508.10875).

Where a method stands is derived from the parts it is made of and from what its entry declares; which parts stand
together is asked of the check that a request meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ..diffuse.orders.contract import Order
from ..diffuse.stops.fill import Fill
from ..entry import Entry, Guarantee
from ..errors import StrettoError

ENTRY = Entry(
    name="diffusion-taxonomy",
    family="diagnostics",
    source="arXiv 2508.10875 (survey of diffusion language models)",
    parts="",
    guarantee=Guarantee.NONE,
    number=88,
    summary="the methods that fill masks by paradigm, technique, training and modality, and which parts fit together",
    command="stretto methods --taxonomy",
)

PARADIGMS = {
    "masked tokens": "tokens become masks and back; every position sees the whole canvas, or its block and all before",
    "blocks": "made for models that see their block and all before: between diffusion and left-to-right decoding",
    "uniform noise": "tokens become other tokens and back",
    "continuous": "noise on embeddings",
}
TECHNIQUES = {  # by the kind of the part that makes the method what it is
    "parallel decoding": "which positions are filled together, and when one is sure enough",
    "unmasking and remasking": "what was filled is opened or rewritten",
    "caching": "what is computed anew and what is kept: keys and values, or what branches of the network add",
    "length and blocks": "how long the canvas is, how it is cut, when it ends",
    "verification": "several steps in one evaluation, checked against the steps themselves",
    "guidance and constraints": "other conditions than the prompt on what is filled",
    "step distillation": "weights that need fewer steps",
}
FAMILY = "diffusion"  # of the methods on this page
TECHNIQUE_OF = {
    "order": "parallel decoding",
    "blocks": "length and blocks",
    "refresh": "caching",
    "stop": "length and blocks",
    "guidance": "guidance and constraints",
    "adjustment": "parallel decoding",
    "guesser": "verification",
    "constraint": "guidance and constraints",
}
TRAININGS = {
    "none": "runs with any checkpoint of its kind",
    "head": "a small network beside the model",
    "drafter": "a model beside the model",
    "target": "weights of the model itself",
    "reinforcement learning": "rewards on the model's own decodes",
}
KINDS = {"sees everything": False, "block-causal": True}  # of models

Door = Callable[
    [str, bool], None
]  # the text of a method, whether the model is block-causal; raises what the check does


@dataclass(frozen=True, slots=True)
class Place:
    """Where one method stands."""

    slots: tuple[str, ...]  # kinds of its principal parts: those that its own file defines
    paradigm: str
    techniques: tuple[str, ...]
    training: str


def place(entry: Entry, principal: Iterable[Any]) -> Place:
    """Of an entry whose principal parts are these."""
    parts = list(principal)
    found = dict.fromkeys(_technique(part) for part in parts)
    blocks = any("block-causal" in need for need in entry.needs)
    return Place(
        tuple(dict.fromkeys(part.kind for part in parts)),
        "blocks" if blocks else "masked tokens",
        tuple(found),
        entry.training,
    )


def _technique(part: Any) -> str:
    if isinstance(part, Order) and part.revises:
        return "unmasking and remasking"
    return TECHNIQUE_OF[part.kind]


# -- which parts stand together --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fit:
    """Where one part serves."""

    kinds: tuple[str, ...]  # of models, see `KINDS`
    apart: tuple[str, ...]  # parts of other kinds that serve there too, but not beside it


def fits(parts: Mapping[str, str], door: Door) -> dict[str, Fit]:
    """Of each part by its text; `parts` names its kind. Every two parts are put to the check, on both kinds of model.

    Where neither is an order, they stand together if they do so with some order.
    """
    orders = [text for text, kind in parts.items() if kind == "order"]

    def served(texts: Sequence[str], kind: str) -> bool:
        with_order = any(parts[text] == "order" for text in texts)
        if with_order and len(texts) == 1:
            texts = [*texts, Fill.name]  # by itself its name may be that of a whole system
        wholes = [texts] if with_order else [[order, *texts] for order in orders]
        return any(_passes("+".join(whole), KINDS[kind], door) for whole in wholes)

    alone = {text: tuple(kind for kind in KINDS if served([text], kind)) for text in parts}
    apart: dict[str, list[str]] = {text: [] for text in parts}
    for one, other in combinations(parts, 2):
        common = [kind for kind in alone[one] if kind in alone[other]]
        if parts[one] != parts[other] and common and not any(served([one, other], kind) for kind in common):
            apart[one].append(other)
            apart[other].append(one)
    return {text: Fit(alone[text], tuple(apart[text])) for text in parts}


def _passes(text: str, block_causal: bool, door: Door) -> bool:
    try:
        door(text, block_causal)
    except StrettoError:
        return False
    return True


# -- the page --------------------------------------------------------------------------------------------

HEAD = """## Methods that fill masks

Along the axes of a survey of diffusion language models, arXiv 2508.10875. A method's slots are the kinds of the parts
that its own file defines.
"""
TOGETHER = """### Which parts stand together

Asked of the check that each request meets: every part, then every two, on a model that sees its whole canvas and on a
block-causal one, with all abilities; what is no order with any order. *Refused beside* names parts that serve there
too, but never in one method with it; the error says why.
"""
COLUMNS = ("method", "number", "slots", "paradigm", "technique", "training", "modality", "output", "needs")


def section(placed: Sequence[tuple[Entry, Place]], parts: Mapping[str, str], door: Door) -> str:
    """The section in Markdown."""
    lines = [HEAD, *_header(COLUMNS), *(_row(entry, at) for entry, at in placed)]
    axes: dict[str, tuple[Mapping[str, str], Callable[[Place], tuple[str, ...]]]] = {
        "Paradigms": (PARADIGMS, lambda at: (at.paradigm,)),
        "Techniques": (TECHNIQUES, lambda at: at.techniques),
        "Training": (TRAININGS, lambda at: (at.training,)),
    }
    for title, (leaves, of) in axes.items():
        lines += [f"\n### {title}\n"]
        for leaf, words in leaves.items():
            names = ", ".join(entry.name for entry, at in placed if leaf in of(at)) or "*no method here*"
            lines.append(f"- **{leaf}** ({words}): {names}")
    lines += ["", TOGETHER, *_header(("part", "kind", "serves models", "refused beside"))]
    for text, fit in fits(parts, door).items():
        kinds = "both" if len(fit.kinds) == len(KINDS) else ", ".join(fit.kinds) or "none"
        lines.append(_line((f"`{text}`", parts[text], kinds, _refused(fit.apart, parts))))
    return "\n".join(lines) + "\n"


def _refused(apart: Sequence[str], parts: Mapping[str, str]) -> str:
    """The parts that one cannot stand beside; of more than half of the orders, those that are left."""
    orders = [text for text, kind in parts.items() if kind == "order"]
    left = [text for text in orders if text not in apart]
    if len(left) >= len(orders) / 2:
        return ", ".join(f"`{text}`" for text in apart)
    rest = [f"`{text}`" for text in apart if text not in orders]
    return ", ".join(["orders other than " + ", ".join(f"`{text}`" for text in left), *rest])


def _row(entry: Entry, at: Place) -> str:
    cells = (entry.name, entry.number, ", ".join(at.slots), at.paradigm, ", ".join(at.techniques), at.training)
    return _line((*cells, entry.modality, entry.guarantee.value, ", ".join(entry.needs)))


def _header(columns: Sequence[str]) -> list[str]:
    return [_line(columns), "|" + " --- |" * len(columns)]


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in cells) + " |"
