"""How much of prompts a round reads beside the rows that run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..models.clock import Clock
from ..row import Row


class Pace(ABC):
    """Asked once a round, where rows run or are read that did not come together; it changes no token."""

    @abstractmethod
    def tokens(self, clock: Clock, rows: Sequence[Row]) -> int:
        """Tokens of prompts that the round may read, 0 for none. Each of `rows` takes its step in it all the same."""
