"""Where segments of answers end: after so many tokens, at a token, a text, or where the model was unsure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..errors import InvalidRequest
from .segmenter import Segment, Segmenter
from .texts import Decode, compiled, text_of


@dataclass(frozen=True, slots=True)
class Every(Segmenter):
    """After so many tokens."""

    tokens: int = 16  # ≥ 1

    name: ClassVar[str] = "every"

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InvalidRequest(f"a segment of {self.tokens} tokens", hint="at least 1")

    def open(self, decode: Decode | None) -> Segment:
        return _Counted(self.tokens)


@dataclass(slots=True)
class _Counted(Segment):
    left: int

    def push(self, token: int) -> bool:
        self.left -= 1
        return self.left == 0


@dataclass(frozen=True, slots=True)
class AtTokens(Segmenter):
    """With one of these tokens."""

    tokens: frozenset[int]

    name: ClassVar[str] = "at-tokens"

    def open(self, decode: Decode | None) -> Segment:
        return _Marked(self.tokens)


@dataclass(slots=True)
class _Marked(Segment):
    tokens: frozenset[int]

    def push(self, token: int) -> bool:
        return token in self.tokens


@dataclass(frozen=True, slots=True)
class AtPattern(Segmenter):
    r"""With the token that completes a match of a regular expression in the segment's text, such as `[.!?]`."""

    pattern: str = "\n"

    name: ClassVar[str] = "at-pattern"

    def __post_init__(self) -> None:
        compiled(self.pattern)

    def open(self, decode: Decode | None) -> Segment:
        return _Matched(compiled(self.pattern), decode)


@dataclass(slots=True)
class _Matched(Segment):
    pattern: re.Pattern[str]
    decode: Decode | None
    tokens: list[int] = field(default_factory=list)

    def push(self, token: int) -> bool:
        self.tokens.append(token)
        return self.pattern.search(text_of(self.tokens, self.decode)) is not None


@dataclass(frozen=True, slots=True)
class AtDoubt(Segmenter):
    """After a token of whose place the model was unsure: the entropy of what it said is above a bound."""

    nats: float = 2.0  # > 0
    least: int = 1  # ≥ 1, tokens of a segment

    name: ClassVar[str] = "at-doubt"

    def __post_init__(self) -> None:
        if not self.nats > 0 or self.least < 1:
            raise InvalidRequest(
                f"doubt above {self.nats} nats, segments of {self.least}", hint="more than 0; at least 1"
            )

    def open(self, decode: Decode | None) -> Segment:
        return _Doubtful(self.nats, self.least)


@dataclass(slots=True)
class _Doubtful(Segment):
    nats: float
    left: int
    heard: list[float] = field(default_factory=list)

    listens: ClassVar[bool] = True

    def hear(self, entropies: Sequence[float]) -> None:
        self.heard = list(entropies)

    def push(self, token: int) -> bool:
        self.left -= 1
        return self.heard.pop(0) > self.nats and self.left <= 0
