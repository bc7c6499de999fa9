"""Do two methods give the same tokens? Where not: how close was the choice there?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from . import method as methods
from .constrain.contract import Constraint
from .errors import InvalidRequest
from .models.contract import NOTHING, Want
from .models.edits import edit
from .models.numbers import TIE, numbers_of
from .models.reading import read
from .models.window import Window
from .request import Request
from .row import Limits, Row
from .speculate.companions import Companions
from .speculate.contract import Target
from .spelling import constrained, tokens_of
from .steer.choice import Rule
from .steer.contract import Steer
from .steer.path import History
from .tree import ROOT, Tree

if TYPE_CHECKING:
    from torch import Tensor

    from .engine import Engine, Prompt
    from .generation import Generation
    from .method import Method


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two decodes of one prompt with the same settings."""

    first: Generation
    second: Generation
    position: int | None  # index of the first different new token; None: there is none
    gap: float  # by how much the better of the two tokens chosen there beats the worse; inf where one is excluded
    precise: bool  # computed in float32 or better; in fewer bits rounding alone can make larger gaps

    @property
    def identical(self) -> bool:
        """No token differs."""
        return self.position is None

    @property
    def tie(self) -> bool:
        """Both tokens were as good as the best, up to rounding: counted, and no mistake."""
        return not self.identical and self.precise and self.gap < TIE

    @property
    def agreed(self) -> int:
        """Tokens that are the same, up to the first difference."""
        return len(self.first.tokens) if self.position is None else self.position

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """What each chose at the first difference; None where it had ended, or where there is none."""
        if self.position is None:
            return None, None
        first, second = (each.tokens[self.position : self.position + 1] for each in (self.first, self.second))
        return (first[0] if first else None, second[0] if second else None)


def compare(
    engine: Engine, prompt: Prompt, first: str | Method, second: str | Method = "plain", **settings: Any
) -> Comparison:
    """Decode one prompt by two methods; `settings` are those of `Request`, without `samples`.

    A second method without steers of its own gets those of the first one, and so it is with a constraint.

    Raises what `Engine.generate` raises, and KeyboardInterrupt where a decode was stopped: half of an
    answer proves nothing.
    """
    request = engine.request(settings)
    if request.samples != 1:
        raise InvalidRequest("two methods are compared on one sample at a time", hint="leave out samples")
    settings["seed"] = request.noise  # one for both
    one_way, other = methods.parse(first), methods.parse(second)
    other = other if other.steers else replace(other, steers=one_way.steers)
    constraint = methods.along_paths(one_way)
    other = other if methods.along_paths(other) is not None else methods.obeying(other, constraint)
    answers = [engine.generate(prompt, method, **settings) for method in (one_way, other)]
    if any(answer.finish == "interrupt" for answer in answers):
        raise KeyboardInterrupt
    one, two = answers
    precise = not numbers_of(engine.model).rounded
    if one.tokens == two.tokens:
        return Comparison(one, two, None, 0.0, precise)
    position = agreement(one.tokens, two.tokens)
    ended = position == min(len(one.tokens), len(two.tokens))
    if ended:  # one of them, where the other goes on: no rounding does that
        return Comparison(one, two, position, float("inf"), precise)
    before = one.tokens[:position]
    scores = scores_after(engine, one.prompt_tokens, before, request, steers=one_way.steers, constraint=constraint)
    gap = scores.max() - scores[[one.tokens[position], two.tokens[position]]].min()
    return Comparison(one, two, position, float(gap), precise)


def agreement(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens are the same before the first difference."""
    pairs = zip(first, second, strict=False)
    return next((at for at, (one, two) in enumerate(pairs) if one != two), min(len(first), len(second)))


def scores_after(
    engine: Engine,
    prompt: list[int],
    output: list[int],
    request: Request,
    *,
    stream: int = 0,
    steers: Sequence[Steer] = (),
    constraint: Constraint | None = None,
) -> Tensor:
    """Steered logits plus noise after prompt and output, [V]: evaluated afresh, without any draft.

    `stream` is the number of the sample, from 0; `steers` and `constraint` are those of the method.
    """
    model, history = engine.model, History(prompt)
    history.extend(output)
    ends = engine.end_tokens if request.end_tokens is None else frozenset(request.end_tokens)
    cache = model.new_cache(1, len(history))
    pipeline, constraint = request.pipeline(ends, steers), constraint or request.obeys
    if constraint is not None:
        tokens = tokens_of(engine.codec, engine.context(), ends)
        pipeline = constrained(pipeline, constraint, tokens, engine.model.max_positions)
    row = Row(history, cache.open(), Rule(pipeline, request.noise, stream), Limits(1))
    companions, trees = Companions(engine.context()), [Tree()]
    companions.add(row)
    for _ in read(model, cache, row.cache_row, history.tokens[:-1], NOTHING, edits=row.edits):
        pass
    window = Window.forest([row.cache_row], [row.root], trees, [len(history) - 1], model.device)
    edit(window, [row.edits])
    evaluation = model.evaluate(window, cache, Want().beside(row.rule.pipeline.wants))
    target = Target([row], trees, evaluation, companions.evaluate([row], trees))
    return torch.from_numpy(target.scores(0, ROOT))
