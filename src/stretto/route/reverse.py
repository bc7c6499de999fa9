"""Reverse speculative decoding: the large model proposes, the small one vetoes what it would never have written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest
from ..models.contract import Model
from ..models.store import Store
from ..noise import split
from ..row import Row
from ..steer.choice import Choices, Rule, choose
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..tree import Tree
from .contract import Route, Routing, Writing
from .proposing import OWN, SECOND, Proposal, Proposing
from .reader import second_model

if TYPE_CHECKING:
    from torch import Tensor

ENTRY = Entry(
    name="reverse-speculative-traces",
    family="route",
    source="arXiv 2509.22230 (reasoning traces tailored for small models)",
    parts="reverse",
    guarantee=Guarantee.NONE,
    number=149,
    needs=("student model",),
    confirmed=False,
    summary="a teacher's text without the tokens that its student finds too improbable, to train the student on",
    generation="own model",
    refinement="chain",
    training="target",
    branch="none",
)

TEACHER, STUDENT = "teacher", "student"  # what the trace calls them
SUBSTITUTE = (1 << 40) + 2  # splits a stream: a student that drew with the teacher's noise would know of the veto


@dataclass(frozen=True, slots=True)
class Reverse(Route):
    """The engine's own model is the teacher. Where the student gives its token less than `tau`, the student writes.

    A data generator, no acceleration. `tau=0` is the teacher alone, above 1 the student alone (greedily its very
    text; when sampling, with a stream of its own). The student judges by its raw softmax at temperature 1; its own
    tokens go through the request's steers. The published value of `tau` and kind of substitute are not certain.
    `block` changes what a round costs, never a token.
    """

    student: str | Model = "zoo/draft"  # a name or folder, or a model that is loaded already
    tau: float = 0.01  # least probability that a token needs, ≥ 0
    block: int = 8  # tokens that the teacher proposes at a time, ≥ 1
    substitute: str = "sample"  # "sample": by the request's rule; "argmax": the likeliest

    name: ClassVar[str] = "reverse"
    obeys: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.tau >= 0 and math.isfinite(self.tau)):
            raise InvalidRequest(f"reverse vetoes below {self.tau}", hint="a probability, or above 1 for all")
        if self.block < 1:
            raise InvalidRequest(f"reverse proposes {self.block} tokens at a time", hint="block >= 1")
        if self.substitute not in ("sample", "argmax"):
            raise InvalidRequest(f"reverse substitutes by {self.substitute!r}", hint="'sample' or 'argmax'")

    def begin(self, context: Context, cache: Store) -> Routing:
        return ReverseRouting(self, context, cache)


class ReverseRouting(Proposing):
    """Teacher and student at work."""

    def __init__(self, settings: Reverse, context: Context, cache: Store) -> None:
        super().__init__(context, cache, second_model(context, settings.student))
        self.settings = settings

    def write(self, rows: Sequence[Row]) -> list[Writing]:
        proposals = self.propose(rows, OWN, self._goes_on)
        read = self.judged(rows, SECOND, proposals)
        return [
            self._judge(row, proposal, logits)
            for row, proposal, logits in zip(rows, proposals, read.logits, strict=True)
        ]

    def _goes_on(self, row: Row, drafted: Sequence[int]) -> bool:
        return len(drafted) < min(self.settings.block, row.remaining) and drafted[-1] not in row.limits.ends

    def _judge(self, row: Row, proposal: Proposal, logits: Tensor) -> Writing:
        """The proposal up to the first veto, and there the student's own token: logits [n, V] of the student."""
        tokens, judged = proposal.tokens, logits[: len(proposal.tokens)]
        found = judged.double().softmax(-1)[range(len(tokens)), tokens].tolist()
        kept = next((at for at, value in enumerate(found) if value < self.settings.tau), len(tokens))
        writing = Writing(
            tokens[:kept],
            [TEACHER] * kept,
            proposal.raw[:kept],
            proposal.steered[:kept],
            Tree.chain(tokens, source=TEACHER),
            list(range(kept)),
            proposal.forwards,
            calls=1,
        )
        if kept < len(tokens):
            own = self._substitute(row, tokens[:kept], judged[kept])
            writing.tokens.append(own.tokens[0])
            writing.sources.append(STUDENT)
            writing.raw.append(judged[kept])
            writing.steered.append(own.steered[0])
        return writing

    def _substitute(self, row: Row, before: Sequence[int], logits: Tensor) -> Choices:
        """The student's own token after `before`, from its logits [V], by noise of its own."""
        rule = Rule(row.rule.pipeline, row.rule.seed, split(row.rule.stream, SUBSTITUTE))
        own = choose(Nodes([Path(row.history, tuple(before))], logits[None]), [rule])
        return replace(own, tokens=own.steered.argmax(-1).tolist()) if self.settings.substitute == "argmax" else own
