"""Valid instances that are refused as they stand: whether they are taken with other numbers, or in an order of keys.

`1.0` and `1` are the same to JSON Schema, as are all orders of keys. Masks let one of each through.
"""

from __future__ import annotations

from typing import Any

from ...constrain.contract import State
from ...constrain.schema.examples import plainly
from ...constrain.tokens import Tokens

MOST = 20_000  # tokens that are tried for an instance


def in_some_order(start: State, tokens: Tokens, value: Any) -> bool:
    """Whether a value is taken with its keys in some order, its numbers written plainly; False: none was found."""
    state = start.fork()
    return _Writing(state, tokens).value(value) and state.complete


class _Writing:
    """Pieces of a value, written one after another: each is taken whole, or all is as before it."""

    def __init__(self, state: State, tokens: Tokens) -> None:
        self._state, self._tokens, self._left = state, tokens, MOST
        self._taken = 0

    def value(self, value: Any) -> bool:
        before = self._taken
        if isinstance(value, dict):
            able = self._text("{") and self._members(value, "")
        elif isinstance(value, list):
            able = self._text("[") and all(
                self._text("," * (at > 0)) and self.value(each) for at, each in enumerate(value)
            )
            able = able and self._text("]")
        else:
            able = self._text(plainly(value))
        return able or self._back(before)

    def _members(self, members: dict[str, Any], comma: str) -> bool:
        """The members that are left, in the first order by which none is left over."""
        if not members:
            return self._text("}")
        able = [key for key in members if self._may_begin(key, comma)]
        for key in able:
            before, rest = self._taken, {other: each for other, each in members.items() if other != key}
            if (
                self._text(f"{comma}{plainly(key)}:")
                and self.value(members[key])
                and all(self._may_begin(other, ",") for other in able if other != key)
                and self._members(rest, ",")
            ):
                return True
            self._back(before)
        return False

    def _may_begin(self, key: str, comma: str) -> bool:
        """Whether a member may come next; one that may is past where it no longer may."""
        before = self._taken
        able = self._text(f"{comma}{plainly(key)}:")
        self._back(before)
        return able

    def _text(self, text: str) -> bool:
        before = self._taken
        for token in self._tokens.spell(text.encode("utf-8", "surrogatepass")):
            self._left -= 1
            if self._left < 0 or not self._state.advance(token):
                return self._back(before)
            self._taken += 1
        return True

    def _back(self, taken: int) -> bool:
        """As it was when so many tokens were taken; False."""
        self._state.rollback(self._taken - taken)
        self._taken = taken
        return False
