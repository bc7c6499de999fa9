"""A critic that always says the same: think once more. In it may stand the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ..critic import Advice, Attempt, Critic, Critique
from ..texts import Decode, text_of, tokens_of

QUESTION = "{question}"

ENTRIES = (
    Entry(
        name="ptr",
        number=1,
        family="search",
        source="arXiv 2410.13413 (progressive thought refinement)",
        parts="refine(critic=again,keep=last)",
        guarantee=Guarantee.NONE,
        needs=("weights that were taught to better their own answers",),
        training="target",
        summary="the model answers, sees all of its answers and is asked to think further; the last answer counts",
    ),
    Entry(
        name="echoic-prompting",
        number=57,
        family="search",
        source="arXiv 2602.06600 (echoes as anchors)",
        parts='refine(rounds=2,critic=again(" Wait. {question} "),keep=last,first=64)',
        guarantee=Guarantee.NONE,
        summary="a thought is broken off, the question is said once more, and the answer goes on from there",
    ),
)


@dataclass(frozen=True, slots=True)
class Again(Critic):
    """Asks for a better answer each time, whatever the last one was."""

    text: str = "\n\nThink again, and give a better answer.\n\n"  # {question} stands for the question

    name: ClassVar[str] = "again"

    def begin(self, context: Context) -> Critique:
        tokens_of(self.text.replace(QUESTION, ""), context.encode)  # raises where it cannot be read
        return _Again(self.text, context.decode)


AGAIN = Again()


@dataclass(frozen=True, slots=True)
class _Again(Critique):
    text: str
    decode: Decode | None

    def advise(self, attempts: Sequence[Attempt]) -> Advice:
        question = text_of(attempts[-1].draft.prompt, self.decode)
        return Advice("on", self.text.replace(QUESTION, question))
