"""Tables of results: a kind says its columns once, and they stand in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from . import markup

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One column, of rows of one type."""

    head: str  # in a terminal
    width: int  # characters in a terminal, ≥ 0; 0: it stands on pages only
    cell: Callable[[T], str]
    title: str = ""  # on a page, where it is called otherwise there


def head(label: str, entries: Sequence[Entry[T]], note: str = "") -> str:
    """The line of a terminal over its rows; `label` comes padded to the width of theirs."""
    return _joined(label, [(entry.head, entry.width) for entry in entries if entry.width], note)


def line(label: str, entries: Sequence[Entry[T]], row: T, note: str = "") -> str:
    """A row in a terminal, everything but its label and what is noted behind it aligned to the right."""
    return _joined(label, [(entry.cell(row), entry.width) for entry in entries if entry.width], note)


def _joined(label: str, cells: Sequence[tuple[str, int]], note: str) -> str:
    text = label + "".join(f"{cell:>{width}}" for cell, width in cells)
    return (f"{text}   {note}" if note else text).rstrip()


def titles(label: str, entries: Sequence[Entry[T]]) -> str:
    """The head of a page's table."""
    return markup.row("th", [label, *(entry.title or entry.head for entry in entries)])


def cells(label: str, entries: Sequence[Entry[T]], row: T, kind: str = "") -> str:
    """A row of a page's table; the kind `mean` stands under a rule."""
    return markup.row("td", [label, *(entry.cell(row) for entry in entries)], kind)
