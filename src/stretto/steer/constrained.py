"""The step of the pipeline that a constraint works in: what it does not allow is removed, at every node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ..constrain.contract import Constraint
from ..constrain.held import Held
from ..constrain.tokens import Tokens
from ..errors import NothingAllowed
from .contract import Stage, Steer
from .pipeline import Pipeline
from .temperature import Temperature

if TYPE_CHECKING:
    from torch import Tensor

    from .nodes import Nodes


@dataclass(frozen=True, slots=True)
class Constrained(Steer):
    """A constraint over the tokens of one model. Behind the end of a text, where nothing counts, it removes nothing."""

    constraint: Constraint
    tokens: Tokens
    positions: int = 2**31  # tokens that the model can read, the prompt's too

    stage: ClassVar[Stage] = Stage.MASK
    strict: ClassVar[bool] = True
    masks: ClassVar[bool] = True  # whether it looks at all that may follow

    @property
    def name(self) -> str:  # type: ignore[override]  # it bears the constraint's
        return self.constraint.name

    def follow(self, prompt: Sequence[int]) -> Held:
        state = self.constraint.open_within(self.tokens, self.positions - len(prompt))
        return Held(state, self.tokens.ends, len(prompt), self.masks)

    def __call__(self, logits: Tensor, nodes: Nodes) -> Tensor:
        shut = np.zeros(logits.shape, bool)  # [N, V]
        for node, (path, standing) in enumerate(zip(nodes.paths, nodes.states(self), strict=True)):
            if standing.stuck:
                if not path.drafted:  # else it is looked at in vain: no answer goes that way
                    raise NothingAllowed(standing.stuck, hint="close=True looks for whole answers, or mend it there")
            elif standing.allowed is not None:
                np.logical_not(standing.allowed, out=shut[node])
            elif standing.broken and not path.drafted:
                raise NothingAllowed(
                    f"what the method has committed breaks {self.name}",
                    hint="use the acceptor 'exact', or another method",
                )
        return logits.masked_fill(torch.from_numpy(shut).to(logits.device), -torch.inf)


def constrained_by(pipeline: Pipeline, kind: Callable[..., Constrained], **more: Any) -> Pipeline:
    """The pipeline with its constraint in a step of a kind of its own, which is told the temperature of the draw.

    As it is where there is no constraint. `more` is what that kind takes beside what all take.
    """
    heat = next((step.value for step in pipeline.steps if isinstance(step, Temperature)), 1.0)
    steps = [
        kind(step.constraint, step.tokens, step.positions, temperature=heat, **more)
        if isinstance(step, Constrained)
        else step
        for step in pipeline.steps
    ]
    return Pipeline(steps)
