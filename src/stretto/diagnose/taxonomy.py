"""The map of the methods: each entry of the catalogue under the flags of two surveys, as a page.

How guesses arise and are refined, systems, modality and training: arXiv 2502.19732. The branches of accelerated
generation and what each trades: arXiv 2405.13019. Nothing is kept by hand: an entry states a flag, or it is derived
from what the entry and its parts declare.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..entry import Branch, Entry, Generation, Guarantee, Modality, Refinement, System, Training
from ..models.contract import Ability
from ..speculate.contract import Drafter
from ..tree import NodeKind

COMMAND = "stretto methods --taxonomy"

ENTRIES = (
    Entry(
        name="generation-refinement-taxonomy",
        family="diagnostics",
        source="arXiv 2502.19732 (survey: speculative decoding and beyond)",
        parts="",
        guarantee=Guarantee.NONE,
        number=117,
        summary="every method by how its guesses arise and how they are refined",
        command=COMMAND,
    ),
    Entry(
        name="accelerated-generation-map",
        family="diagnostics",
        source="arXiv 2405.13019 (survey of accelerated generation techniques)",
        parts="",
        guarantee=Guarantee.NONE,
        number=162,
        summary="every method under its branch: speculative, early exit, non-autoregressive; what each trades",
        command=COMMAND,
    ),
)

BRANCHES: dict[str, Branch] = {"speculate": "speculative", "diffuse": "non-autoregressive"}  # by family
QUALITY = {  # what may happen to the output
    Guarantee.EXACT: "none",
    Guarantee.DISTRIBUTION: "none",
    Guarantee.DEFINED: "another output, the same whoever drafts",
    Guarantee.APPROXIMATE: "by a knob",
    Guarantee.NONE: "another output",
}


@dataclass(frozen=True, slots=True)
class Flags:
    """Where one method stands."""

    generation: Generation
    refinement: Refinement
    acceptance: str  # the acceptor's name; empty where nothing is verified
    lossless: bool
    system: System
    modality: Modality
    training: Training
    branch: Branch
    models: str  # "one", or "two" where a second one is loaded


def classify(entry: Entry, drafter: Drafter | None, principal: Sequence[Entry], acceptance: str) -> Flags:
    """The flags of an entry that decodes with `drafter` (None: with none) and the acceptor of that name.

    `principal` are the entries of the drafter and of drafters that it holds, its own first; they speak for it where
    the entry itself does not.
    """
    generation = entry.generation or _generation(drafter, principal)
    refinement = entry.refinement
    if refinement is None:
        tree = drafter is not None and Ability.TREE in drafter.needs
        refinement = "iterative" if generation == "fill" else "tree" if tree else "chain" if drafter else "none"
    branch = entry.branch or ("none" if generation == "none" else BRANCHES.get(entry.family, "none"))
    return Flags(
        generation,
        refinement,
        acceptance,
        entry.lossless,
        entry.system,
        entry.modality,
        entry.training,
        branch,
        "two" if _has_model(entry) else "one",
    )


def _generation(drafter: Drafter | None, principal: Sequence[Entry]) -> Generation:
    """What the entries of the drafters say, or else what their needs and proposals do."""
    if drafter is None:
        return "none"
    if principal and principal[0].generation:
        return principal[0].generation
    if len(principal) > 1:
        found = {entry.generation or _by_needs(entry, frozenset()) for entry in principal[1:]}
        if _has_model(principal[0]):
            found.add("own model")
        return found.pop() if len(found) == 1 else "mixed"
    return _by_needs(principal[0] if principal else None, drafter.proposals)


def _by_needs(entry: Entry | None, proposals: frozenset[NodeKind]) -> Generation:
    if entry is not None and _has_model(entry):
        return "own model"
    return "fill" if NodeKind.RIDER in proposals else "retrieval"


def _has_model(entry: Entry) -> bool:
    return any("model" in need and "masked-diffusion" not in need for need in entry.needs)  # that is the one itself


# -- the page -----------------------------------------------------------------------------------------

HEAD = f"""# A map of the methods

Written by `{COMMAND}` from what the methods declare beside their principal part: to change a line, change the entry
there and write the page again. The columns are those of two surveys of the field, arXiv 2502.19732 and (branch, what
it trades) arXiv 2405.13019.
"""
GENERATION_COLUMNS = (
    "method",
    "number",
    "parts",
    "guesses from",
    "refined by",
    "acceptance",
    "lossless",
    "system",
    "modality",
    "training",
)
BRANCH_COLUMNS = ("method", "family", "models", "risk to quality", "training", "needs")
LINKS = {
    "speculative": "Guess several tokens, verify them in one forward: memory for the guesses, none of the quality.",
    "early exit": "Leave the network before its last layer where that suffices.",
    "non-autoregressive": "Fill many positions at once, and again: fewer forwards, another model.",
    "hybrid": "Several outputs or ways in one stream.",
    "none": "No acceleration of one answer: the reference, routes among models, searches.",
}


def page(classified: Iterable[tuple[Entry, Flags]], others: Iterable[Entry] = ()) -> str:
    """The page in Markdown: methods with their flags, then what `others` a command shows."""
    rows = list(classified)
    lines = [HEAD, "## How guesses arise and are refined\n", *_header(GENERATION_COLUMNS)]
    lines += [generation_line(entry, flags) for entry, flags in rows]
    lines += ["\n## Branches of accelerated generation, and what they trade"]
    for branch, words in LINKS.items():
        mine = [(entry, flags) for entry, flags in rows if flags.branch == branch]
        lines += [f"\n**{branch}** ({len(mine)}). {words}\n" if mine else f"\n**{branch}** (none here). {words}"]
        lines += [*_header(BRANCH_COLUMNS), *(branch_line(entry, flags) for entry, flags in mine)] if mine else []
    lines += ["\n## Shown by a command\n", *_header(("what", "number", "command", "summary"))]
    lines += [_line((entry.name, entry.number, f"`{entry.command}`", entry.summary)) for entry in others]
    return "\n".join(lines) + "\n"


def generation_line(entry: Entry, flags: Flags) -> str:
    """An entry's line of the first table."""
    return _line(
        (
            entry.name,
            entry.number,
            f"`{entry.parts}`",
            flags.generation,
            flags.refinement,
            flags.acceptance,
            "yes" if flags.lossless else "no",
            flags.system,
            flags.modality,
            flags.training,
        )
    )


def branch_line(entry: Entry, flags: Flags) -> str:
    """An entry's line under its branch."""
    needs = ", ".join(entry.needs)
    return _line((entry.name, entry.family, flags.models, QUALITY[entry.guarantee], flags.training, needs))


def _header(columns: Sequence[str]) -> list[str]:
    return [_line(columns), "|" + " --- |" * len(columns)]


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in cells) + " |"
