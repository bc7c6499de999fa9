"""Calls of functions that an answer holds, in the forms in which chat templates ask for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)


class Calling:
    """What has a text, and may call functions in it."""

    __slots__ = ()

    text: str

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of functions that the text holds: name and arguments of each; mostly none."""
        return calls_in(self.text)


def calls_in(text: str) -> list[dict[str, Any]]:
    """The calls that a text holds, `{"name": …, "arguments": …}` each, in whichever of the known forms; none else."""
    marked = CALL.findall(text)
    return [call for each in marked or [text] for call in _read(each)]


def _read(text: str) -> Iterator[dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError:
        return
    for each in found if isinstance(found, list) else [found]:
        given = each if isinstance(each, dict) else {}
        arguments = given.get("arguments", given.get("parameters"))
        if isinstance(given.get("name"), str) and isinstance(arguments, dict):
            yield {"name": given["name"], "arguments": arguments}
