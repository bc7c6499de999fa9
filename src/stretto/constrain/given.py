"""What callers hand over as a grammar or a schema: the text itself, or a file that holds it."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidRequest

LONGEST = 4096  # letters of a path


def text_of(given: str, name: str) -> str:
    """The text itself, or that of the file it names: whatever is one line with no space or bracket is a path.

    Raises InvalidRequest where there is no such file, or no text in it.
    """
    if not given.strip():
        raise InvalidRequest(f"{name} is empty", hint="give the text, or a file that holds it")
    if not is_path(given):
        return given
    try:
        return Path(given).expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name}: {given} is no UTF-8 text", hint="save it as UTF-8") from error
    except OSError as error:
        raise InvalidRequest(f"{name}: there is no file {given}", hint="give a file, or the text itself") from error


def is_path(given: str) -> bool:
    """Whether it is read as the name of a file, and not as the text itself."""
    return "\n" not in given and len(given) <= LONGEST and not any(mark in given for mark in "{[(:|\"'")
