"""Reading benchmark files: plain or gzipped text, JSON lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import InvalidRequest


def read_text(file: Path) -> str:
    """A file's text, unpacked where its name ends in .gz. Raises InvalidRequest where it holds none."""
    try:
        content = file.read_bytes()
        return (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8")
    except (OSError, EOFError, ValueError) as error:
        raise InvalidRequest(f"cannot read {file}: {error}", hint="a file of UTF-8 text, plain or gzipped") from error


def records(text: str) -> Iterator[dict[str, Any]]:
    """Lines of JSON; split at newlines only, since strings may hold other line ends.

    Raises InvalidRequest where a line is none.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InvalidRequest(f"line {number} is no JSON: {error}", hint="one object per line") from error
