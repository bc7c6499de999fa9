"""What a route must do: of several models that read the same text, say who writes the next tokens.

Settings are frozen dataclasses (`Route`); what a decode remembers lives in the object they begin (`Routing`).

>>> import torch
>>> logits = torch.tensor([0.0, 2.0, 1.0])
>>> Writing([1, 2], ["small", ""], raw=[logits, logits], steered=[logits, logits], calls=1).sources
['small', '']
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from ..context import Context
from ..entry import Guarantee
from ..models.contract import Model
from ..models.store import Store
from ..row import Row
from ..steer.pipeline import Pipeline
from ..tree import Tree
from ..values import Checked
from .reader import Reader, Reading

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Writing:
    """What one round adds to one row, before it is cut where the row ends. Lists run parallel to `tokens`."""

    tokens: list[int]
    sources: list[str]  # who wrote each; "" for the engine's own model where nothing was proposed
    raw: list[Tensor]  # [V] logits of the model that wrote it
    steered: list[Tensor]  # [V] log-weights that it was chosen from; −inf where a token was excluded
    proposed: Tree = field(default_factory=Tree)  # what one model put before another, for the trace
    accepted: list[int] = field(default_factory=list)  # nodes of it that are the first of `tokens`
    forwards: list[int] = field(default_factory=list)  # slots of each evaluation of the engine's own model
    calls: int = 0  # evaluations of other models


class Routing(ABC):
    """A route at work in one decode."""

    @abstractmethod
    def open(self, row: Row) -> int:
        """Take a row in, of which nothing is read yet; how many new tokens the positions of the models allow.

        Raises InvalidRequest or Unsupported where a model cannot read the prompt.
        """

    @abstractmethod
    def texts(self, row: Row) -> Sequence[tuple[Reader, Reading]]:
        """The models that read the row's text, and where each of them is."""

    def read(self, row: Row, size: Callable[[], int]) -> Iterator[None]:
        """Let every model read the prompt up to its last token, at most `size()` tokens at each `next`."""
        for reader, reading in self.texts(row):
            yield from reader.begin(reading, size)

    @abstractmethod
    def fork(self, row: Row, copy: Row) -> None:
        """Let `copy` go on as `row`; its history is a copy of the row's, its cache row a fork already."""

    @abstractmethod
    def close(self, row: Row) -> None:
        """Give back what the row holds, if anything, but its row of the engine's own cache."""

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> list[Writing]:
        """At least one token for each row; histories are read and never written."""

    @abstractmethod
    def settle(self, row: Row) -> None:
        """The row has committed what it kept of its writing: forget what it did not."""


class Route(metaclass=Checked):
    """Chooses among models. The engine's own model is one of them; which part it has, the route says."""

    name: ClassVar[str]
    kind: ClassVar[str] = "route"
    guarantee: ClassVar[Guarantee] = Guarantee.NONE
    obeys: ClassVar[bool] = (
        False  # whether every token is chosen by the row's rule after its own path: constraints hold
    )

    def check(self, model: Model, pipeline: Pipeline) -> None:
        """Raise Unsupported or InvalidRequest for a model, steers or settings that it cannot serve."""

    @abstractmethod
    def begin(self, context: Context, cache: Store) -> Routing:
        """Start work in one decode; `cache` is the engine's own model's. Raises Unsupported where models do not fit."""
