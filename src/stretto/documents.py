"""Texts of the user's in which parts count n-grams: read, encoded and counted once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .context import Context
from .errors import InvalidRequest, Unsupported

Counted = TypeVar("Counted")


def counted(kind: type[Counted], text: str, context: Context, count: Callable[[list[list[int]]], Counted]) -> Counted:
    """What `count` makes of the tokens of a file, or of each *.txt file of a folder; remembered under `kind`.

    Raises InvalidRequest where there is no such text or it is no UTF-8, Unsupported where the target reads none.
    """
    if context.encode is None:
        raise Unsupported("n-grams are counted in a text, and here is no text", hint="decode through an Engine")
    encode, place = context.encode, Path(text).expanduser()
    files = sorted(place.glob("*.txt")) if place.is_dir() else [place] if place.exists() else []
    if not files:
        raise InvalidRequest(f"there is no text {text}", hint="name a text file or a folder of *.txt files")

    def made() -> Counted:
        try:
            documents = [encode(file.read_text(encoding="utf-8")) for file in files]
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{text} is not UTF-8 text", hint="convert it first") from error
        return count(documents)

    return context.remembered(kind, tuple((str(file), file.stat().st_mtime_ns) for file in files), made)
