"""What a segmenter must do: tell where a piece of an answer ends, so that a search can look at it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from ..values import Checked
from .texts import Decode


class Segment(ABC):
    """One segment of one branch, growing."""

    listens: ClassVar[bool] = False  # wants entropies, which cost a little

    @abstractmethod
    def push(self, token: int) -> bool:
        """Take the next token; True where the segment ends with it."""

    def hear(self, entropies: Sequence[float]) -> None:
        """Told before the tokens that a round commits: nats of what the model said where each was chosen."""


class Segmenter(metaclass=Checked):
    """Cuts answers into segments."""

    name: ClassVar[str]
    kind: ClassVar[str] = "segmenter"

    @abstractmethod
    def open(self, decode: Decode | None) -> Segment:
        """A segment that holds nothing yet; `decode` gives text for tokens, where there is a tokenizer."""
