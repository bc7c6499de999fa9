"""A JSON text read piece by piece: the values that have closed, and those that are still open.

It trusts that the text is JSON, as masks see to that. Nothing is ever changed in place: any point can be gone back to.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

TEXT = re.compile(rb'(?:[^"\\]|\\.)*', re.DOTALL)  # up to the quote that ends a text, or to half an escape
BARE = re.compile(rb"[^\s,:\]}]*")  # a number, true, false or null
BETWEEN = b" \t\r\n,:"
MARKS = BETWEEN + b'{}[]"'
WORDS = (b"true", b"false", b"null")
NOTHING = object()  # no value


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """An array or an object that has not closed."""

    around: Opened | None
    closed: list[Any] | dict[str, Any]  # the items or members that have; never changed
    key: str | None = None  # of the member that is written


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Where a text stands."""

    inner: Opened | None = None  # the innermost array or object that is open
    begun: bytes | None = None  # what there is of a text, a number or such, quotes included; None between values
    root: Any = NOTHING  # the whole value, once it has closed
    closings: int = 0  # how many values and keys have closed
    twice: bool = False  # whether a key has come twice in an object

    @property
    def depth(self) -> int:
        """How many arrays and objects are open."""
        found, inner = 0, self.inner
        while inner is not None:
            found, inner = found + 1, inner.around
        return found

    @property
    def in_text(self) -> bool:
        """Whether a text is open."""
        return self.begun is not None and self.begun.startswith(b'"')

    @property
    def in_key(self) -> bool:
        """Whether the next text, or the one that is open, is a key."""
        return self.inner is not None and isinstance(self.inner.closed, dict) and self.inner.key is None

    @property
    def pointer(self) -> str:
        """The innermost value that is open, or the next one, as a JSON pointer into the text."""
        steps: list[str] = []
        inner = self.inner
        while inner is not None:
            key = len(inner.closed) if isinstance(inner.closed, list) else inner.key
            steps += [] if key is None else [str(key).replace("~", "~0").replace("/", "~1")]
            inner = inner.around
        return "#" + "".join("/" + step for step in reversed(steps))

    def finished(self) -> Any:
        """The whole value if the text ends here; NOTHING where it is no whole."""
        if self.inner is None and self.begun and not self.in_text:
            return json.loads(self.begun)
        return self.root


def read(point: Point, piece: bytes) -> Point:
    """The point behind one more piece."""
    at = 0
    while at < len(piece):
        if point.begun is not None:
            point, at = _scalar(point, piece, at)
            continue
        byte = piece[at : at + 1]
        at += byte in MARKS
        if byte in b"{[":
            point = replace(point, inner=Opened(point.inner, {} if byte == b"{" else []))
        elif byte in b"]}":
            assert point.inner is not None, "an array or object closes that was never opened"
            point = _closed(replace(point, inner=point.inner.around), point.inner.closed)
        elif byte not in BETWEEN:
            point = replace(point, begun=b'"' if byte == b'"' else b"")
    return point


def _scalar(point: Point, piece: bytes, at: int) -> tuple[Point, int]:
    """Go on with a text or a number up to its end, or that of the piece."""
    begun = point.begun or b""
    if not point.in_text:
        end = BARE.match(piece, at).end()  # type: ignore[union-attr]
        begun += piece[at:end]
        if end == len(piece) and begun not in WORDS:
            return replace(point, begun=begun), end
        return _closed(replace(point, begun=None), json.loads(begun)), end
    half = _half(begun)
    found = TEXT.match(b"\\" * half + piece[at:])
    end = at + found.end() - half  # type: ignore[union-attr]
    if end >= len(piece) or piece[end : end + 1] != b'"':
        return replace(point, begun=begun + piece[at:]), len(piece)
    text = json.loads(begun + piece[at : end + 1])
    point = replace(point, begun=None)
    if not point.in_key:
        return _closed(point, text), end + 1
    inner = point.inner
    assert inner is not None, "a key stands in an object"
    twice = point.twice or text in inner.closed
    return replace(point, inner=replace(inner, key=text), closings=point.closings + 1, twice=twice), end + 1


def _half(begun: bytes) -> bool:
    """Whether a text breaks off within an escape, behind its backslash."""
    return (len(begun) - len(begun.rstrip(b"\\"))) % 2 == 1


def _closed(point: Point, value: Any) -> Point:
    """The point behind a value that has closed."""
    inner = point.inner
    closings = point.closings + 1
    if inner is None:
        return replace(point, root=value, closings=closings)
    if isinstance(inner.closed, list):
        return replace(point, inner=replace(inner, closed=[*inner.closed, value]), closings=closings)
    assert inner.key is not None, "a member has a key"
    members = {**inner.closed, inner.key: value}
    return replace(point, inner=replace(inner, closed=members, key=None), closings=closings)
