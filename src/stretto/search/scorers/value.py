"""A scorer that a small head was trained for, over the rows of a model: how good an answer will be, or is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...context import Context
from ...entry import Entry, Guarantee
from ...errors import Unsupported
from ...models.contract import Model
from ...models.head import Head
from ..reading import Readings
from ..scorer import Draft, Scorer, Scoring

ENTRY = Entry(
    name="reward-ranker",
    family="search",
    source="arXiv 2504.09643 (iterative self-training for code generation via reinforced re-ranking)",
    parts="best-of(10,value(zoo/reward))",
    guarantee=Guarantee.APPROXIMATE,
    number=44,
    training="head",
    confirmed=False,  # here the generator stays as it is: it is the ranker that is trained again
    summary="answers ranked by a reward that was trained on right and wrong pairs, and again on those it got wrong",
)


@dataclass(frozen=True, slots=True)
class Value(Scorer):
    """What a head says of the last token of a text: from 0 to 1, how sure it is that the answer is or becomes right.

    The model reads what it is asked about in a cache of its own, each token once: `scorer_tokens` counts them. Ships
    with the zoo: `zoo/value` (of beginnings), `zoo/reward` (of whole answers), `zoo/process` (whether there is no
    mistake so far). `stretto train rewards` makes others.
    """

    head: str | Head = "zoo/value"  # one of the zoo's, a .safetensors file, or one that is at hand
    model: str | Model = ""  # that the head was trained on: a name or folder, or a loaded one; empty: the engine's own

    name: ClassVar[str] = "value"

    def begin(self, context: Context) -> Scoring:
        head = self.head if isinstance(self.head, Head) else Head.named(self.head)
        model = context.second(self.model) if self.model else context.target
        head.check(model)
        if head.outputs != 1:
            raise Unsupported(
                f"{head.name} judges next tokens", hint="it steers: controlled(…); a scorer has one output"
            )
        return _Value(head, model)


class _Value(Scoring):
    def __init__(self, head: Head, model: Model) -> None:
        self._head = head
        self._readings = Readings(model, head.of)

    @property
    def tokens(self) -> int:
        return self._readings.tokens

    def full(self, drafts: Sequence[Draft]) -> list[float]:
        values: list[float] = self._head(self._readings.ends(drafts))[:, 0].sigmoid().tolist()
        return values
