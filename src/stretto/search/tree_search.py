"""Searches that try out what may follow a text in simulations, go where that came out best, and learn from each.

A simulation goes down from the root to a way that was not tried (`worth` says where), goes it, and lets what the scorer
says of the new place come back to all places on the way. Settings tell published searches apart: whether ways are
tokens or drawn segments, whether a place is judged by itself or by an answer that is grown from it (a rollout), and
whether tokens become final one by one or the best whole answer is handed out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from ..context import Context
from ..errors import Unsupported
from ..models.contract import Model
from ..steer.pipeline import Pipeline
from .branches import Branches
from .contract import Search, Searching
from .scorer import Scorer
from .scorers.likelihood import LIKELIHOOD
from .segmenter import Segmenter
from .tree import Edge, Node


class TreeSearch(Search):
    """What such searches have in common; the work is in `simulating.py`."""

    width: int = 4  # ≥ 1, ways on from a place
    simulations: int = 16  # ≥ 1, of one choice
    scorer: Scorer = LIKELIHOOD
    segmenter: Segmenter | None = None  # ways are drawn segments; None: they are tokens, and nothing is drawn
    enough: float = float("inf")  # a whole answer that is worth so much ends the search
    far: int = 0  # ≥ 0, tokens of a rollout; 0: to the end of the answer

    rollouts: ClassVar[bool] = False  # whether a place is judged by a whole answer that begins so, or by itself
    stepwise: ClassVar[bool] = False  # whether tokens become final one by one, each after `simulations` of its own

    @property
    def hears(self) -> bool:
        return self.scorer.hears

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if self.segmenter is None and not pipeline.greedy:
            raise Unsupported(f"{self.name} involves no chance", hint="leave the temperature at 0")
        if self.segmenter is not None and pipeline.greedy:
            raise Unsupported(f"{self.name} draws its segments, and without chance all are one", hint="temperature=1")

    def rows(self, samples: int) -> int:
        return 2 + self.simulations * (1 if self.segmenter is None else self.width)

    def begin(self, context: Context, branches: Branches) -> Searching:
        from .simulating import Simulating

        return Simulating(self, context, branches)

    @abstractmethod
    def worth(self, node: Node, edge: Edge) -> float:
        """How good it is to try this way on from a node next; the first of the best is gone."""

    def final(self, edge: Edge) -> float:
        """What the token that becomes final is chosen by; the first of the best."""
        return edge.visits

    def ways(self, node: Node) -> Sequence[Edge]:
        """Those of a node's ways that are considered."""
        return node.edges or ()
