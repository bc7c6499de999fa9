"""What a way of packing tells, and what is raised where it is none that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from torch import Tensor

from .codes import Codes

Parts = Mapping[str, Tensor]  # the tensors of one matrix, by their last names


class Unreadable(Exception):
    """Numbers are packed in a way that is not known here; the message says in which."""


class Packing(Protocol):
    """How the matrices of a checkpoint are packed."""

    marks: ClassVar[tuple[str, ...]]  # last names of tensors that only packed matrices have
    parts: ClassVar[frozenset[str]]  # those of all that a packed matrix may have
    beside: ClassVar[frozenset[str]]  # those of numbers for rounding inputs, keys and values, which nobody does here

    def matrix(self, parts: Parts) -> Codes | Tensor:
        """A matrix [O, I] of its tensors. Raises Unreadable."""
        ...
