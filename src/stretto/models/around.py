"""A model around another: the same shape, and the same answers where nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cache import KeyForm
from .contract import Evaluation, Model, Want
from .numbers import numbers_of
from .store import Store
from .window import Window

if TYPE_CHECKING:
    from torch import Tensor


class Around:
    """Hands everything on to `model`; what differs is overridden."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.vocabulary = model.vocabulary
        self.layers = model.layers
        self.channels = model.channels
        self.heads = model.heads
        self.max_positions = model.max_positions
        self.abilities = model.abilities
        self.device = model.device
        self.dtype = model.dtype
        self.name = model.name
        self.numbers = numbers_of(model)

    def new_cache(self, rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Store:
        """The model's own."""
        return self.model.new_cache(rows, slots, key_form)

    def evaluate(self, window: Window, cache: Any, want: Want = Want()) -> Evaluation:
        """The model's own."""
        return self.model.evaluate(window, cache, want)

    def embed(self, tokens: Tensor) -> Tensor:
        """The model's own."""
        return self.model.embed(tokens)

    def read_out(self, hidden: Tensor) -> Tensor:
        """The model's own."""
        return self.model.read_out(hidden)
