"""Grammars that llguidance reads, JSON Schema among them: its matcher behind the contract of constraints.

The matcher sees the tokens as the bytes that they spell, and one end token of its own that no model has: special tokens
spell nothing here, and a text in which the name of one stands is written byte by byte like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidRequest, NothingAllowed, Unsupported
from .contract import State
from .tokens import Tokens

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from numpy.typing import NDArray

BYTES = Tokens([bytes([byte]) for byte in range(256)])  # a token for each
KEPT = 32  # grammars over these, the newest
DEAD_END = "NoExtensionBias"  # a matcher's word for where nothing may follow, and no text ends
NEEDED = (*range(0x20, 0x7F), *range(0x80, 0xC0), *range(0xC2, 0xF0))  # bytes that texts are made of


class Matching(State):
    """A text that a matcher reads."""

    def __init__(self, start: LLMatcher, tokens: Tokens) -> None:
        self._start, self._tokens = start, tokens  # the first stays before all tokens
        self._matcher, self._taken = start.deep_copy(), list[int]()

    @property
    def complete(self) -> bool:
        return bool(self._matcher.is_accepting())

    def allowed(self) -> NDArray[Any]:
        if forced := self.must():
            return self._spelling(forced)
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error() and self._matcher.get_error().startswith(DEAD_END):
            self._matcher = self._start.deep_copy()  # the other one is stopped for good
            self._matcher.consume_tokens(self._taken)
            return np.zeros(len(self._tokens), bool)
        self._require_sound()
        return np.unpackbits(bits, count=len(self._tokens), bitorder="little").view(bool)

    def advance(self, token: int) -> bool:
        taken = token < len(self._tokens) and self._matcher.try_consume_tokens([token]) == 1
        if not taken:
            self._require_sound()
        else:
            self._taken.append(token)
        return taken

    def rollback(self, count: int) -> None:
        assert self._matcher.rollback(count), f"{count} tokens are taken back, more than there are"
        del self._taken[len(self._taken) - count :]

    def fork(self) -> Matching:
        twin = copy(self)
        twin._matcher, twin._taken = self._matcher.deep_copy(), self._taken.copy()
        return twin

    def forced(self) -> Sequence[int]:
        return list(self._matcher.compute_ff_tokens())

    def must(self) -> bytes:
        """The text that must follow, as far as it is known."""
        return bytes(self._matcher.compute_ff_bytes())

    def completes(self, way: Sequence[int]) -> bool:
        taken = self._matcher.try_consume_tokens([*way])
        able = taken == len(way) and self.complete
        self._require_sound()
        self._matcher.rollback(taken)
        return able

    def _spelling(self, forced: bytes) -> NDArray[Any]:
        """The tokens that may follow where these bytes must: every spelling of them, not the tokenizer's alone."""
        texts = self._tokens.texts
        begun = [token for size in range(1, len(forced) + 1) for token in texts.get(forced[:size], ())]
        beyond = [
            token for token in self._tokens.that_begin_with(forced) if self._matcher.validate_tokens([token]) == 1
        ]
        mask = np.zeros(len(self._tokens), bool)
        mask[begun + beyond] = True
        return mask

    def _require_sound(self) -> None:
        """Raise NothingAllowed where the matcher has given up."""
        if self._matcher.is_error():
            raise NothingAllowed(
                f"the grammar grew too large to follow: {_line(self._matcher.get_error())}",
                hint="make it smaller: bound what repeats, name fewer alternatives",
            )


def opened(tokens: Tokens, grammar: str, name: str) -> Matching:
    """The state before the first token under a grammar in the form of `grammar_from_…`; compiled once.

    Raises InvalidRequest where the grammar cannot be read, Unsupported where the tokens cannot spell texts.
    """
    return Matching(tokens.memory.of((Matching, grammar), lambda: _compiled(tokens, grammar, name)), tokens)


def _compiled(tokens: Tokens, grammar: str, name: str) -> LLMatcher:
    from llguidance import LLMatcher

    tokens.require_text(name)
    if missing := [byte for byte in NEEDED if bytes([byte]) not in tokens.texts]:
        raise Unsupported(
            f"{name} needs a tokenizer that can spell any text, and this one has no token for byte {missing[0]}",
            hint="use regex, choices or sentence, which look ahead for what its tokens can spell",
        )
    matcher = LLMatcher(tokenizer(tokens), grammar, log_level=0)
    if matcher.is_error():
        raise InvalidRequest(
            f"{name}: {_line(matcher.get_error())}", hint="write it otherwise, or leave out what it names"
        )
    return matcher


def refusal(grammar: str) -> str:
    """Why a grammar is not taken, in a line; "" where it is."""
    matcher = _by_bytes(grammar)
    return _line(matcher.get_error()) if matcher.is_error() else ""


def opened_by_bytes(grammar: str) -> Matching:
    """The state before the first byte under a grammar that is taken; compiled once with `refusal`."""
    return Matching(_by_bytes(grammar), BYTES)


@lru_cache(maxsize=KEPT)
def _by_bytes(grammar: str) -> LLMatcher:
    from llguidance import LLMatcher

    return LLMatcher(tokenizer(BYTES), grammar, log_level=0)


def tokenizer(tokens: Tokens) -> LLTokenizer:
    """The tokens as matchers see them; made once."""
    from llguidance import LLTokenizer, TokenizerWrapper

    def made() -> LLTokenizer:
        return LLTokenizer(TokenizerWrapper(_Spelling(tokens)), n_vocab=len(tokens) + 1)

    return tokens.memory.once(LLTokenizer, made)


class _Spelling:
    """What a tokenizer must have to be wrapped: the bytes of each token, and how a text is written."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = [*map(tokens.text_of, range(len(tokens))), b"\xff[end]"]  # 0xFF: no text has it
        self.eos_token_id = len(tokens)
        self.bos_token_id = None
        self.special_token_ids = [len(tokens)]
        self._spell = tokens.spell

    def __call__(self, text: str | bytes) -> list[int]:
        return self._spell(text.encode() if isinstance(text, str) else text)


def _line(message: str) -> str:
    """The line of a message that says what is wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0] if lines else "no reason is given"
