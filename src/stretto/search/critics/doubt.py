"""A critic that asks the model itself whether its answer is right, by the odds of two words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import InvalidRequest, Unsupported
from ...models.contract import Want
from ...models.reading import read, skip
from ..critic import STOP, Advice, Attempt, Critic, Critique
from ..texts import tokens_of

ENTRY = Entry(
    name="revise-answers",
    number=86,
    family="search",
    source="arXiv 2502.14565",
    parts="refine(critic=doubt,keep=last,rounds=2)",
    guarantee=Guarantee.NONE,
    needs=("weights that were taught to doubt their own answers",),
    training="target",
    confirmed=False,
    summary="behind its answer the model says whether it holds; where it doubts more than a limit, it answers anew",
)


@dataclass(frozen=True, slots=True)
class Doubt(Critic):
    """Goes on where the model doubts. The odds are those of the first tokens of the two words, behind the question.

    It reads the whole text anew: one forward pass for each answer, over all of its tokens.
    """

    question: str = "\nIs this right? Answer yes or no:"
    right: str = " yes"
    wrong: str = " no"
    limit: float = 0.5  # of the probability of `wrong` against both, 0 to 1; 1: it never doubts
    text: str = "\nNo. The right answer is:\n"  # what the model is told then

    name: ClassVar[str] = "doubt"

    def __post_init__(self) -> None:
        if not 0 <= self.limit <= 1:
            raise InvalidRequest(f"limit of 'doubt' is {self.limit}", hint="a probability, 0 to 1")

    def begin(self, context: Context) -> Critique:
        heads = [tokens_of(text, context.encode)[:1] for text in (self.right, self.wrong)]
        if heads[0] == heads[1] or not all(heads):
            raise Unsupported(
                f"{self.right!r} and {self.wrong!r} begin with the same token here", hint="give two words that do not"
            )
        return _Doubt(self, context, heads[0] + heads[1])


@dataclass(frozen=True, slots=True)
class _Doubt(Critique):
    settings: Doubt
    context: Context
    heads: list[int]  # of what says right and wrong

    def advise(self, attempts: Sequence[Attempt]) -> Advice:
        return Advice("on", self.settings.text) if self.doubt(attempts[-1]) > self.settings.limit else STOP

    def doubt(self, attempt: Attempt) -> float:
        """The probability of wrong against both."""
        model = self.context.target
        text = [*attempt.seen, *attempt.answer, *tokens_of(self.settings.question, self.context.encode)]
        cache = model.new_cache(rows=1, slots=len(text))
        row = cache.open()
        skip(model, cache, row, text[:-1])
        ((evaluation, _),) = read(model, cache, row, text[-1:], Want())
        assert evaluation.logits is not None, "they were wanted"
        return float(evaluation.logits[0, -1, self.heads].double().softmax(-1)[1])
