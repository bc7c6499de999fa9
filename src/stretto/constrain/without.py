"""Answers in which some texts never come, however tokens would spell them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .contract import Constraint, State
from .machine import Machine, Reading
from .tokens import Tokens

ENTRY = Entry(
    name="vulnerability-constrained",
    number=211,
    family="constraint",
    source="arXiv 2309.09826",
    parts='plain+without("<unsafe>")',
    guarantee=Guarantee.DEFINED,
    needs=("weights that were taught to write a label before what shall not come",),
    training="target",
    summary="a model that labels vulnerable lines is kept from writing the label, and so from the lines",
)


@dataclass(frozen=True, slots=True)
class Without(Constraint):
    """None of the texts stands anywhere in the answer, within a token or across several.

    What the prompt ends with is no part of it. A label that is one token is what was published; one of several is
    kept out as well, and costs what its beginnings would have led to.
    """

    texts: tuple[str, ...]  # at least one, none of them empty

    name: ClassVar[str] = "without"

    def __post_init__(self) -> None:
        if not all(self.texts) or not self.texts:
            raise InvalidRequest("without has no text to keep out", hint="give at least one, such as '<unsafe>'")

    def open(self, tokens: Tokens) -> State:
        tokens.require_text(self.name)

        def made() -> Machine:
            banned = tuple(text.encode() for text in self.texts)
            begun = {text[:size] for text in banned for size in range(len(text))}

            def step(state: tuple[bytes], byte: int) -> tuple[bytes] | None:
                """A state is the longest end of what was read that begins a banned text (Aho and Corasick 1975)."""
                seen = state[0] + bytes([byte])
                if seen.endswith(banned):
                    return None
                return (next(seen[at:] for at in range(len(seen) + 1) if seen[at:] in begun),)

            return Machine(tokens, (b"",), step, lambda state: True)

        return Reading(tokens.memory.of(self, made))
