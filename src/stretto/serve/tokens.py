"""What a token is written as, by itself: for the log-probabilities of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import Unsupported
from ..spelling import tokens_of

if TYPE_CHECKING:
    from ..engine import Engine
    from ..generation import LogProbability

LEAST = -9999.0  # the logarithm of nothing, as the API writes it: JSON has no infinity


class Spelling:
    """The bytes and the text of each token of an engine's model; found when the first is asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pieces: Sequence[bytes | None] | None = None

    def prepare(self) -> Spelling:
        """Look at the whole vocabulary now, in whichever thread this is."""
        if self._pieces is None:
            try:
                self._pieces = tokens_of(self._engine.codec, self._engine.context(), frozenset()).pieces
            except Unsupported:  # a token has no text by itself
                self._pieces = []
        return self

    def bytes_of(self, token: int) -> bytes:
        """What a token spells: a part of a character, perhaps; special ones as a stop string writes them."""
        pieces = self.prepare()._pieces or []
        piece = pieces[token] if token < len(pieces) else None
        if piece is not None:
            return piece
        special = self._engine.codec.reading.get("special", {})
        return str(special.get(token) or self._engine.decode([token])).encode()

    def text_of(self, token: int) -> str:
        """The same as text; U+FFFD stands for what is no whole character."""
        return self.bytes_of(token).decode("utf-8", "replace")

    # -- as the API has them ------------------------------------------------------------------------

    def of_chat(self, entries: Sequence[LogProbability]) -> dict[str, Any]:
        """`logprobs` of a chat's choice, the model's own: temperature 1, nothing masked."""
        said = [
            {**self._one(each.token, each.raw), "top_logprobs": [self._one(*other) for other in each.top_raw]}
            for each in entries
        ]
        return {"content": said, "refusal": None}

    def _one(self, token: int, value: float) -> dict[str, Any]:
        spelt = self.bytes_of(token)
        return {"token": spelt.decode("utf-8", "replace"), "logprob": max(value, LEAST), "bytes": list(spelt)}

    def _by_text(self, found: Sequence[tuple[int, float]]) -> dict[str, float]:
        """The likeliest first; of tokens that are written alike the likeliest alone."""
        made: dict[str, float] = {}
        for token, value in found:
            made.setdefault(self.text_of(token), max(value, LEAST))
        return made

    def of_completion(self, entries: Sequence[LogProbability], before: int) -> dict[str, Any]:
        """`logprobs` of a completion's choice, the same numbers; `before` characters of the answer have come."""
        offsets, texts = [], [self.text_of(each.token) for each in entries]
        for text in texts:
            offsets.append(before)
            before += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [max(each.raw, LEAST) for each in entries],
            "top_logprobs": [self._by_text(each.top_raw) for each in entries],
            "text_offset": offsets,
        }
