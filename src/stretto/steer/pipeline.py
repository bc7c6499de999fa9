"""The pipeline of choice: the steers of a request, in the one order in which they may work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from ..errors import NothingAllowed
from ..models.contract import NOTHING, Want
from .contract import Companion, Stage, Steer, require
from .temperature import Temperature
from .truncation import Truncation, truncate

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.edits import Edit
    from .nodes import Nodes


@dataclass(frozen=True)
class Pipeline:
    """Steers sorted by stage (as given within a stage), without those whose settings are neutral.

    Called with N nodes and their raw logits, it returns log-weights [N, V], float32 (float64 for float64),
    -inf where a token is removed. After each stage every row has at least one token: see `_revive`.
    """

    steps: Sequence[Steer] = ()  # kept as a tuple
    constraint: Steer | None = field(init=False, compare=False, repr=False)  # the strict step, if there is one
    greedy: bool = field(init=False, compare=False, repr=False)  # temperature 0: no chance
    aided: bool = field(init=False, compare=False, repr=False)  # a step needs more than logits and paths
    hears: bool = field(init=False, compare=False, repr=False)  # a step is told what became of a node's logits
    pointwise: bool = field(init=False, compare=False, repr=False)  # no step looks at the path
    plain: bool = field(init=False, compare=False, repr=False)  # greedy, and nothing reshapes
    wants: Want = field(init=False, compare=False, repr=False)  # what its steps want of an evaluation
    companions: tuple[Companion, ...] = field(init=False, compare=False, repr=False)  # and other readings, each once
    edits: tuple[Edit, ...] = field(init=False, compare=False, repr=False)  # of rows inside of the model
    guessing: Pipeline = field(init=False, compare=False, repr=False)  # without steps that want more than paths
    _stages: tuple[tuple[Steer, ...], ...] = field(init=False, compare=False, repr=False)
    _truncations: tuple[Truncation, ...] = field(init=False, compare=False, repr=False)
    _last: tuple[Steer, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        steps = sorted((step for step in self.steps if not step.idle), key=lambda step: step.stage)
        greedy = any(isinstance(step, Temperature) and step.greedy for step in steps)
        if greedy:  # the best token is the best at any temperature, and no truncation may drop it
            steps = [*(step for step in steps if step.stage < Stage.TEMPERATURE), Temperature(0.0)]
        shaping = [step for step in steps if step.stage <= Stage.TEMPERATURE]
        truncations = tuple(step for step in steps if isinstance(step, Truncation))
        for step in steps:
            require(
                (Stage.TEMPERATURE < step.stage < Stage.LAST) == isinstance(step, Truncation),
                f"{step.name} works at the stage {step.stage.name.lower()}, as truncations alone do",
                "derive it from Truncation, or let it work at another stage",
            )
            require(
                not (step.pointwise and step.aided),
                f"{step.name} says that it needs logits only, and wants more",
                "leave out pointwise, or what it wants",
            )
        settle = object.__setattr__  # frozen: everything is settled here, once
        settle(self, "steps", tuple(steps))
        settle(self, "constraint", next((step for step in steps if step.strict), None))
        settle(self, "greedy", greedy)
        settle(self, "aided", any(step.aided for step in steps))
        settle(self, "hears", any(step.hears for step in steps))
        settle(self, "pointwise", all(step.pointwise for step in steps))
        settle(self, "plain", greedy and len(steps) == 1)
        settle(self, "wants", reduce(Want.beside, (step.wants for step in steps if step.aided), NOTHING))
        settle(self, "companions", tuple(dict.fromkeys(each for step in steps for each in step.companions)))
        settle(self, "edits", tuple(each for step in steps for each in step.edits))
        settle(self, "guessing", Pipeline([step for step in steps if not step.aided]) if self.aided else self)
        settle(self, "_stages", tuple(tuple(group) for _, group in groupby(shaping, key=lambda step: step.stage)))
        settle(self, "_truncations", truncations)
        settle(self, "_last", tuple(step for step in steps if step.stage == Stage.LAST))

    def check(self, vocabulary: int) -> None:
        """Raise `InvalidRequest` where a step names a token that the vocabulary of V tokens lacks."""
        for step in self.steps:
            largest = max(step.named_tokens, default=-1)
            require(
                largest < vocabulary,
                f"{step.name} names token {largest}, which is outside of the vocabulary",
                f"0 <= token < {vocabulary}",
            )

    def __call__(self, nodes: Nodes) -> Tensor:
        """Steer the raw logits [N, V] of the N nodes."""
        logits = nodes.raw
        if logits.dtype not in (torch.float32, torch.float64):
            logits = logits.float()  # sums in half precision misplace the edge of a nucleus
        inputs: list[Tensor] = []
        for steps in self._stages:
            inputs.append(logits)
            logits = _run(steps, logits, nodes)
            if steps[0].stage < Stage.TEMPERATURE and not bool((logits.amax(-1) > -torch.inf).all()):
                logits = _revive(steps, logits, inputs, nodes)
        return _run(self._last, truncate(logits, self._truncations), nodes)


def _run(steps: Sequence[Steer], logits: Tensor, nodes: Nodes) -> Tensor:
    for step in steps:
        logits = step(logits, nodes)
    return logits


def _revive(steps: Sequence[Steer], logits: Tensor, inputs: Sequence[Tensor], nodes: Nodes) -> Tensor:
    """Give one token to each row that the steps of a stage left empty.

    `inputs` holds what came into each stage so far, this one last. Where earlier stages removed all that this
    one allows, they yield: so a mask holds even if every allowed token is banned. Where the stage allows
    nothing at all, the best token that came into it stays; of a strict one that is an error.
    """
    logits = logits.clone()
    for node in (logits.amax(-1) == -torch.inf).nonzero()[:, 0].tolist():
        row = inputs[-1][node]
        for source in reversed(inputs[:-1]):
            retried = _run(steps, source[node : node + 1], nodes[[node]])[0]
            if bool((retried > -torch.inf).any()):
                row = retried
                break
        else:
            if strict := next((step.name for step in steps if step.strict), None):
                raise NothingAllowed(
                    f"{strict} leaves no token at position {len(nodes.paths[node])}",
                    hint="look at allowed_tokens and at what the model excludes by itself, or change the constraint",
                )
        best = row.argmax()
        logits[node, best] = row[best].clamp(min=torch.finfo(row.dtype).min)
    return logits
