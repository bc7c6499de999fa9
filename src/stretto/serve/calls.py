"""Text and calls of functions, told apart as an answer comes."""

from __future__ import annotations

import json
import secrets
from typing import Any

from ..calls import calls_in
from ..pieces import begun

MARK = "<tool_call>"  # with which most templates begin a call; others write nothing but JSON


class Telling:
    """What of an answer is text, and which functions it calls. Where no function was told of, all of it is text.

    Text is let go of once it is sure to be no call, so a stream gives the same as the whole answer at once.

    >>> telling = Telling(tools=True)
    >>> telling.feed("So: <tool"), telling.feed('_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    ('So: ', '')
    >>> text, calls = telling.end()
    >>> text, calls[0]["function"]
    ('', {'name': 'add', 'arguments': '{"a": 1}'})
    """

    def __init__(self, *, tools: bool) -> None:
        self._tools = tools
        self._seen = ""
        self._shown = 0

    def feed(self, text: str) -> str:
        """Take some more of the answer; returns what is text for sure and was not returned yet."""
        self._seen += text
        return self._release(self._sure())

    def end(self) -> tuple[str, list[dict[str, Any]]]:
        """The answer is over: the rest of its text, and its calls as the API has them."""
        calls = calls_in(self._seen) if self._tools else []
        text = self._release(self._sure() if calls else len(self._seen))
        return text, [_call(each) for each in calls]

    def _release(self, end: int) -> str:
        piece = self._seen[self._shown : end]
        self._shown = max(self._shown, end)
        return piece

    def _sure(self) -> int:
        """So many of the first characters are text."""
        seen = self._seen
        if not self._tools:
            return len(seen)
        at = seen.find(MARK)
        if at < 0:
            at = len(seen) - begun(seen, MARK)
        begins = seen.lstrip()[:1]
        return 0 if begins in ("{", "[", "") or not seen[:at].strip() else at


def _call(call: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": call["name"], "arguments": arguments},
    }
