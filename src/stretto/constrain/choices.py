"""Answers that are one of a few texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from .contract import Constraint, State
from .languages import as_language
from .lexicon import Language
from .machine import Machine, Reading
from .pattern import escaped
from .tokens import Tokens

Node = int  # of a trie; 1 is its root

ENTRY = Entry(
    name="choices-mask",
    family="constraint",
    source="the reference: a trie over the texts",
    parts="plain+choices(yes,no)",
    guarantee=Guarantee.DEFINED,
    summary="the answer is one of a few texts",
)


@dataclass(frozen=True, slots=True)
class Choices(Constraint):
    """The whole answer is one of these texts, however tokens spell it."""

    texts: tuple[str, ...]  # at least one; equal ones count once

    name: ClassVar[str] = "choices"

    def __post_init__(self) -> None:
        if not self.texts:
            raise InvalidRequest("there is nothing to choose from", hint="give at least one text")

    def open(self, tokens: Tokens) -> State:
        tokens.require_text(self.name)

        def made() -> Machine:
            after, last = trie([text.encode() for text in self.texts])
            return Machine(tokens, 1, lambda node, byte: after.get((node, byte), 0), last.__contains__)

        return Reading(tokens.memory.of(self, made))

    @property
    def language(self) -> Language:
        return as_language("|".join(map(escaped, self.texts)))


def trie(texts: list[bytes]) -> tuple[dict[tuple[Node, int], Node], set[Node]]:
    """The nodes behind each node and byte, and those in which a text ends."""
    after: dict[tuple[Node, int], Node] = {}
    last = set()
    for text in texts:
        node = 1
        for byte in text:
            node = after.setdefault((node, byte), len(after) + 2)
        last.add(node)
    return after, last
