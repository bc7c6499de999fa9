"""What a refresh must do: it says what is computed anew in a step, and what is read from the cache.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True, slots=True)
... class Stale(Refresh):
...     '''Everything once, then what is looked at; what was filled since is read as it was.'''
...
...     name: ClassVar[str] = "stale"
...
...     def open(self, canvas, context):
...         return StaleState()
>>> class StaleState(RefreshState):
...     begun = False
...
...     def plan(self, canvas, window, wanted):
...         rows, self.begun = wanted if self.begun else np.arange(len(canvas)), True
...         return Plan(rows)

>>> from dataclasses import replace
>>> import numpy as np
>>> from stretto import method
>>> from stretto.engine import Engine
>>> from stretto.models.masked import Masking
>>> from stretto.models.table import MaskedTable
>>> engine = Engine(MaskedTable.random_masked(6, 3, Masking(5)))
>>> cheap = replace(method.parse("threshold(2)"), refresh=Stale())
>>> engine.generate([0, 2], cheap, max_new_tokens=4).counters.token_forwards  # 6 + 3 + 2 + 1
12
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ...context import Context
from ...models.window import Branch
from ..canvas import Canvas, Delta, Span, none
from ..contract import Part, PartState
from ..orders.contract import OrderState
from ..prediction import Positions

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """What one evaluation computes for one row; what it computes replaces what the cache holds."""

    rows: Positions  # positions, ascending, whatever stands between them; what wanted ones need is added by the loop
    forget: Positions = field(default_factory=none)  # dropped from the cache without being computed
    blind: int = 0  # positions before this one do not see the computed ones from it on
    attention: tuple[tuple[int, int], ...] = ()  # (layer, head) whose probabilities the refresh wants to see
    store: tuple[Branch, ...] = ()  # keep what these add to the rows, where everything is computed
    reuse: tuple[Branch, ...] = ()  # do not compute these: what they added when they were last stored
    keep: bool = False  # keep the hidden rows of all layers, from the first evaluation on, for `RedoingState.redo`


@dataclass(frozen=True, slots=True)
class Observation:
    """What a refresh asked to see of an evaluation. q: rows computed, S: slots read."""

    rows: Positions  # [q] positions in the order of the tensors below
    slots: Positions  # [S] the position in each slot of the attention
    attention: Mapping[tuple[int, int], Tensor] = field(default_factory=dict)  # (layer, head) -> [q, S]
    branches: Mapping[Branch, Tensor] = field(default_factory=dict)  # of those stored -> [q, C]


class RefreshState(PartState, ABC):
    """A refresh at work in one row."""

    def wanted(self, canvas: Canvas, window: Span, order: OrderState) -> Positions:
        """Where a prediction is wanted for the order: all that it looks at, or the part that it needs."""
        return order.looks(canvas, window)

    @abstractmethod
    def plan(self, canvas: Canvas, window: Span, wanted: Positions) -> Plan:
        """What to compute so that the `wanted` positions [n] can be predicted; called once in each step.

        What is neither computed nor cached is not seen by anyone.
        """

    def read(self, canvas: Canvas, seen: Observation) -> None:
        """See what it asked for, before anything is filled."""

    def learn(self, canvas: Canvas, delta: Delta) -> None:
        """The canvas has changed by `delta`, anywhere; what was taken back or rewritten must be computed again."""


class RedoingState(RefreshState, ABC):
    """A refresh that may have upper layers computed once more within a step, where its plan keeps hidden rows."""

    @abstractmethod
    def redo(self, canvas: Canvas, seen: Observation) -> int | None:
        """The layer from which everything that is held is computed once more; None: nothing.

        Called after the evaluation, for each canvas tried, and before `read`, which gets what was seen at last.
        """


class Refresh(Part):
    """Says what is computed anew in a step, and what is read from the cache."""

    kind: ClassVar[str] = "refresh"
    exact: ClassVar[bool] = False  # the same as computing everything, whatever the order

    @abstractmethod
    def open(self, canvas: Canvas, context: Context) -> RefreshState:
        """Begin work in one row."""
