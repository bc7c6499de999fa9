"""Values that have not ended, as a judge sees them: what has closed in them, and what is open below."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .reader import Opened, Point
from .validate import equal

KINDS = frozenset(("null", "boolean", "object", "array", "string", "integer", "fraction"))
BEGUN = {b'"': {"string"}, b"t": {"boolean"}, b"f": {"boolean"}, b"n": {"null"}}  # kinds by the first letter


class Scalar:
    """A text, a number or such that has not ended, or any value that has not begun."""

    def __init__(self, begun: bytes, depth: int) -> None:
        self.begun, self.depth = begun, depth
        self.kinds = frozenset(BEGUN.get(begun[:1], {"integer", "fraction"})) if begun else KINDS

    def may_be(self, value: Any) -> bool:
        """Whether it may become a value, as far as its beginning tells."""
        if not self.begun:
            return True
        if self.kinds == {"string"}:
            spelt = b"\\" in self.begun
            return isinstance(value, str) and (spelt or value.startswith(self.begun[1:].decode("utf-8", "ignore")))
        if isinstance(value, bool) or value is None:
            return bool(self.kinds & ({"null"} if value is None else {"boolean"}))
        return isinstance(value, int | float) and "integer" in self.kinds


class Container:
    """An array or an object that is open."""

    def __init__(self, opened: Opened, below: Open | None, depth: int) -> None:
        self.closed, self.key, self.below, self.depth = opened.closed, opened.key, below, depth
        self.kinds = frozenset(["array" if isinstance(opened.closed, list) else "object"])

    @property
    def keys(self) -> set[str]:
        """The keys that an object has already."""
        return {*self.closed, *([] if self.key is None else [self.key])}

    @property
    def items(self) -> list[Any]:
        """The items that an array has already, with the one that is written."""
        return [*self.closed, *([] if self.below is None else [self.below])]

    def members(self) -> Iterator[tuple[str, Any]]:
        """The members that an object has already, with the one that is written."""
        assert isinstance(self.closed, dict), "only objects have members"
        yield from self.closed.items()
        if self.key is not None:
            yield self.key, self.below

    def may_be(self, value: Any) -> bool:
        """Whether it may become a value, as far as what has closed tells."""
        if isinstance(self.closed, dict):
            return isinstance(value, dict) and all(
                key in value and equal(member, value[key]) for key, member in self.closed.items()
            )
        return isinstance(value, list) and equal(self.closed, value[: len(self.closed)])


Open = Scalar | Container


def opened(point: Point) -> Open:
    """The whole value at a point where it is open; the outermost array or object has depth 1."""
    depth, inner, below = point.depth, point.inner, None
    awaited = inner is None or inner.key is not None
    if awaited or (point.begun is not None and not point.in_key):
        below = Scalar(point.begun or b"", depth + 1)
    found: Open | None = below
    while inner is not None:
        found, inner, depth = Container(inner, found, depth), inner.around, depth - 1
    assert found is not None, "a value that has not begun is open"
    return found
