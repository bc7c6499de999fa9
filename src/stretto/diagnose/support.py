"""The support matrix: what each method of the catalogue does with each kind of request, as a page.

Nothing is kept by hand: every cell is asked of the check that a request meets at the door, and a refusal stands with
its own message and hint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..entry import Entry
from ..errors import StrettoError
from ..models.contract import Ability

COMMAND = "stretto methods --support"


@dataclass(frozen=True, slots=True)
class Ask:
    """A kind of request: settings of the choice, prompts side by side, and how it is put."""

    title: str  # heads the column
    settings: tuple[Mapping[str, Any], ...] = field(default_factory=lambda: ({},))  # all of these must be served
    prompts: int = 1  # ≥ 1
    streamed: bool = False
    planner: str = ""  # the text form of the one to use instead of the method's own; "": its own


# Each truncation and each mask by itself: a method may refuse one of them. A truncation needs chance to bite.
TRUNCATIONS: dict[str, Any] = {"top_k": 2, "top_p": 0.8, "min_p": 0.2, "typical_p": 0.8, "epsilon": 0.1, "eta": 0.1}
PENALTIES: dict[str, Any] = {
    "repetition_penalty": 1.3,
    "frequency_penalty": 0.4,
    "presence_penalty": 0.4,
    "no_repeat_ngram": 2,
    "logit_bias": {1: 1.5},
    "banned_tokens": (0,),
    "allowed_tokens": (0, 1, 2),
    "min_new_tokens": 3,
}
ASKS = (
    Ask("greedy"),
    Ask("sampled", ({"temperature": 1.0, "seed": 7},)),
    Ask("batch", prompts=4),
    Ask("truncation", tuple({"temperature": 1.0, name: value} for name, value in TRUNCATIONS.items())),
    Ask("penalties, masks", tuple({name: value} for name, value in PENALTIES.items())),
    Ask("3 samples", ({"samples": 3},)),
    Ask("log-probabilities", ({"log_probabilities": 2},)),
    Ask("streamed", streamed=True),
    Ask("another planner", planner="fixed(4)"),
)
COLUMNS = ("method", "output", *(ask.title for ask in ASKS), "needs of the target", "and else")
ABILITIES = {  # in words, as they stand in the page and in the needs of entries
    Ability.TREE: "tree windows",
    Ability.EMBEDS: "embeddings as input",
    Ability.LAYERS: "ranges of layers",
    Ability.HIDDEN: "hidden states",
    Ability.ATTENTION: "attention summaries",
    Ability.EDITS: "edits of the residual stream",
    Ability.GAZES: "changes of attention",
    Ability.RAW_KEYS: "keys before rotation",
}

Door = Callable[[str, Ask, Mapping[str, Any], Ability], None]  # parts, kind, settings, abilities of the target


def refusal(parts: str, ask: Ask, door: Door, abilities: Ability = Ability.ALL) -> StrettoError | None:
    """Why a request of this kind is refused for a method of these parts; None: it is served."""
    for settings in ask.settings:
        try:
            door(parts, ask, settings, abilities)
        except StrettoError as error:
            return error
    return None


def required(parts: str, door: Door) -> list[Ability]:
    """The abilities without which some kind of request is refused that is served with all of them.

    A target that can do less serves no more: what is served with those found so far needs none beside them.
    """
    found = Ability.NONE
    for ask in ASKS:
        if refusal(parts, ask, door, found) is None or refusal(parts, ask, door) is not None:
            continue
        for ability in Ability.ALL & ~found:
            if refusal(parts, ask, door, Ability.ALL & ~ability) is not None:
                found |= ability
    return list(found)


HEAD = f"""# What each method does with each kind of request

Written by `{COMMAND}`: each cell is what the check at the door says to such a request, for the parts that stand under
the name and a target of the kind they are for that can do everything. *Exact*: the tokens of plain decoding, greedy and
with a seed. *Distribution*: greedy the same tokens, with a seed others that are drawn from the same distribution.
*Exact of its definition*: the tokens of plain decoding under the same steer or constraint, whoever drafts.
*Approximate*, *none*: another output; there *yes* says no more than that the request is served as the method defines
it. *No* leads to the error that one gets, and how to mend it.

- *batch*: prompts side by side, of any lengths.
- *truncation*: each of {", ".join(f"`{name}`" for name in TRUNCATIONS)}.
- *penalties, masks*: each of {", ".join(f"`{name}`" for name in PENALTIES)}.
- *another planner*: `fixed(4)` in the place of its own, or of the default.
- *needs of the target*: without these abilities some of the requests are refused.
"""


def page(entries: Iterable[Entry], door: Door, filled: Mapping[str, str]) -> str:
    """The page in Markdown; `filled` has the text form of methods that nothing can be asked of without a setting."""
    notes: dict[str, int] = {}
    lines = [HEAD, _line(COLUMNS), "|" + " --- |" * len(COLUMNS)]
    lines += [line_of(entry, filled.get(entry.name, entry.parts), door, notes) for entry in entries]
    lines += ["", *(f"[^{number}]: {note}" for note, number in notes.items())]
    return "\n".join(lines) + "\n"


def line_of(entry: Entry, parts: str, door: Door, notes: dict[str, int]) -> str:
    """One method's line; refusals not seen before are added to `notes`, with their numbers."""
    cells = [_cell(refusal(parts, ask, door), notes) for ask in ASKS]
    abilities = [ABILITIES[ability] for ability in required(parts, door)]
    needs = [need for need in entry.needs if need not in ABILITIES.values()]
    output = entry.guarantee.value.removeprefix("exact in ")
    return _line((f"{entry.name}<br>`{parts}`", output, *cells, ", ".join(abilities), ", ".join(needs)))


def _cell(refused: StrettoError | None, notes: dict[str, int]) -> str:
    if refused is None:
        return "yes"
    return f"no[^{notes.setdefault(f'{refused.message}: {refused.hint}', len(notes) + 1)}]"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
