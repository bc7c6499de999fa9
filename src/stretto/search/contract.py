"""What a search must do: grow and prune the candidate answers (branches) of each prompt.

The rows of one prompt are a group: as many answers are wanted as rows joined before the first round. Their histories
get tokens only once all surviving branches agree on them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..context import Context
from ..entry import Guarantee
from ..generation import LogProbability
from ..models.cache import Cache
from ..models.contract import Model
from ..row import Row
from ..steer.pipeline import Pipeline
from ..values import Checked


@dataclass(frozen=True, slots=True)
class Branch:
    """One candidate answer."""

    tokens: tuple[int, ...] = ()  # of the answer, without the prompt's
    score: float = 0.0  # natural logarithm; what branches are ranked by
    reports: tuple[LogProbability, ...] = ()  # of each token, where the rows want them


@dataclass(slots=True, eq=False)
class Group:
    """All rows and branches of one prompt."""

    rows: list[Row]
    alive: list[Branch] = field(default_factory=lambda: [Branch()])  # best first
    finished: list[Branch] = field(default_factory=list)  # ended by an end token; best first
    ended: bool = False  # nothing will change any more
    seconds: list[float] = field(default_factory=list)  # of each round
    handed: int = 0  # tokens of the answers that the rows hold

    @property
    def wanted(self) -> int:
        """How many answers are wanted."""
        return len(self.rows)

    @property
    def best(self) -> list[Branch]:
        """The best branches, as many as are wanted, best first; the last stands for what there is not."""
        ranked = sorted((*self.finished, *self.alive), key=lambda branch: -branch.score)[: self.wanted]
        return ranked + ranked[-1:] * (self.wanted - len(ranked))


class Searching(ABC):
    """A search at work in one decode."""

    @abstractmethod
    def grow(self, groups: Sequence[Group]) -> list[list[int]]:
        """One round of every group: branches are replaced, `ended` is set.

        Returns how many slots of the model each evaluation took, per group.
        """


class Search(metaclass=Checked):
    """Grows several answers at once. Approximate by nature: see each search's own words."""

    name: ClassVar[str]
    kind: ClassVar[str] = "search"
    guarantee: ClassVar[Guarantee] = Guarantee.APPROXIMATE
    obeys: ClassVar[bool] = False  # whether branches take only tokens that the row's pipeline leaves: constraints hold

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        """Raise Unsupported or InvalidRequest for a model, steers, or number of answers that it cannot serve."""

    @abstractmethod
    def begin(self, context: Context, cache: Cache) -> Searching:
        """Start work in one decode."""
