"""A critic that always says the same: think once more. In it may stand the question, and what the answer scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...annotations import Unbounded
from ...context import Context
from ...entry import Entry, Guarantee
from ..critic import STOP, Advice, Attempt, Critic, Critique
from ..texts import Decode, text_of, tokens_of

QUESTION, SCORE = "{question}", "{score}"

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
    Entry(
        name="iad",
        number=141,
        family="search",
        source="arXiv 2504.01931 (review, refine, repeat: iterative agent decoding)",
        parts='refine(4,critic=again(" That scores {score}. A better one: "),show=extremes)',
        guarantee=Guarantee.NONE,
        needs=("a scorer that verifies",),
        summary="the model sees its best answer and its worst, each with its score, and answers anew; the best counts",
    ),
)


@dataclass(frozen=True, slots=True)
class Again(Critic):
    """Asks for a better answer each time, whatever the last one was, unless it scores `enough`."""

    text: str = "\n\nThink again, and give a better answer.\n\n"  # {question} and {score} stand for these
    enough: Unbounded = math.inf  # what the scorer says of an answer with which it stops

    name: ClassVar[str] = "again"

    def begin(self, context: Context) -> Critique:
        tokens_of(self.text.replace(QUESTION, "").replace(SCORE, ""), context.encode)  # raises where it cannot be read
        return _Again(self, context.decode)


AGAIN = Again()


@dataclass(frozen=True, slots=True)
class _Again(Critique):
    critic: Again
    decode: Decode | None

    def advise(self, attempts: Sequence[Attempt]) -> Advice:
        newest = attempts[-1]
        if newest.worth >= self.critic.enough:
            return STOP
        question = text_of(newest.draft.prompt, self.decode)
        return Advice("on", self.critic.text.replace(SCORE, f"{newest.worth:.3g}").replace(QUESTION, question))
