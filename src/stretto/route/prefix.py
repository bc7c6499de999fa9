"""A prefix switch: one model begins the answer, the other goes on after a fixed number of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..context import Context
from ..errors import InvalidRequest
from ..models.contract import Model
from ..models.store import Store
from .contract import Route, Routing
from .reader import second_model
from .switch import Pen, Switching


@dataclass(frozen=True, slots=True)
class Prefix(Route):
    """The first `tokens` tokens of the answer are the other model's, the rest the engine's own."""

    first: str | Model = "zoo/draft"  # a name or folder, or a model that is loaded already
    tokens: int = 8  # ≥ 0; 0: the engine's own model alone

    name: ClassVar[str] = "prefix"
    obeys: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise InvalidRequest(f"the first {self.tokens} tokens are the other model's", hint="tokens >= 0")

    def begin(self, context: Context, cache: Store) -> Routing:
        return Switching(context, cache, second_model(context, self.first), "first", lambda: PrefixPen(self.tokens))


@dataclass(frozen=True, slots=True)
class PrefixPen(Pen):
    """Counts."""

    tokens: int

    def second(self, written: int) -> bool:
        return written < self.tokens

    def fork(self) -> PrefixPen:
        return self
