"""A model that reads along: its cache runs behind the committed tokens and catches up by one forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..context import Context
from ..errors import InvalidRequest, Unsupported
from ..models.contract import NOTHING, Model, Want
from ..models.reading import CHUNK, read, skip
from ..models.store import Store
from ..models.vocabulary import in_vocabulary
from ..models.window import Window
from ..row import Row

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True, eq=False)
class Reading:
    """One row's text in one model's cache: the row's own, or the same answer after another prompt."""

    row: Row
    cache_row: int
    prompt: list[int] | None = None  # stands in the place of the row's; None: the row's own

    def __len__(self) -> int:
        """Tokens of the text: prompt and committed answer."""
        return len(self.row.history.tokens) + self._shift

    def after(self, length: int, drafted: Sequence[int] = ()) -> list[int]:
        """What follows the first `length` tokens of the text and what is drafted at its end."""
        tokens = self.row.history.tokens
        if self.prompt is not None and length < len(self.prompt):
            return [*self.prompt[length:], *tokens[self.row.history.prompt_length :], *drafted]
        return [*tokens[length - self._shift :], *drafted[max(0, length - len(self)) :]]

    @property
    def _shift(self) -> int:
        return 0 if self.prompt is None else len(self.prompt) - self.row.history.prompt_length


@dataclass(frozen=True, slots=True)
class Read:
    """What came out of one evaluation."""

    logits: Tensor  # [B, n, V] of the engine's own vocabulary; rows that wanted fewer are padded at the end
    slots: list[int]  # B; tokens that were evaluated


class Reader:
    """A model at work on the texts of many rows."""

    def __init__(self, model: Model, cache: Store, vocabulary: int) -> None:
        """`vocabulary` is the engine's own model's: the logits are brought to it."""
        self.model = model
        self.cache = cache
        self.vocabulary = vocabulary

    def open(self, row: Row, cache_row: int | None = None, prompt: list[int] | None = None) -> Reading:
        """A row's prompt, or another in its place, yet to be read; in `cache_row`, if it is open already.

        Raises InvalidRequest where the model has too few positions, Unsupported where it lacks a token.
        """
        reading = Reading(row, -1 if cache_row is None else cache_row, prompt)
        if self.room(reading) < 1:
            raise InvalidRequest(
                f"the prompt has {len(reading)} tokens, {self.model.name} {self.model.max_positions} positions",
                hint="shorten the prompt: at least one position must be left for the answer",
            )
        self._require(reading.after(0))
        if cache_row is None:
            reading.cache_row = self.cache.open()
        return reading

    def begin(self, reading: Reading, size: Callable[[], int]) -> Iterator[None]:
        """Read what is not read of the prompt up to its last token, at most `size()` tokens at each `next`."""
        unread = reading.after(self.cache.following(reading.cache_row))[:-1]
        for _ in read(self.model, self.cache, reading.cache_row, unread, NOTHING, size=size):
            yield

    def room(self, reading: Reading) -> int:
        """How many new tokens the positions of the model allow."""
        return self.model.max_positions - len(reading)

    def fork(self, reading: Reading, copy: Row, cache_row: int | None = None) -> Reading:
        """The same for a row whose history is a copy; `cache_row`: a fork of the cache row that exists already."""
        forked = self.cache.fork(reading.cache_row)[0] if cache_row is None else cache_row
        return Reading(copy, forked, reading.prompt)

    def close(self, reading: Reading) -> None:
        """Give back the row of the cache."""
        self.cache.free(reading.cache_row)

    def read(
        self,
        readings: Sequence[Reading],
        drafted: Sequence[Sequence[int]] | None = None,
        wanted: Sequence[int] | None = None,
    ) -> Read:
        """Logits after each of the newest `wanted` tokens (one) of every text and its draft, oldest first.

        Whatever of them is not in the cache yet is evaluated together, side by side.
        """
        drafted = drafted or [()] * len(readings)
        wanted = wanted or [1] * len(readings)
        pending, slots = [], []
        for reading, draft, count in zip(readings, drafted, wanted, strict=True):
            tokens = reading.after(self.cache.following(reading.cache_row), draft)
            assert len(tokens) >= count, "a token whose logits are wanted was evaluated before"
            slots.append(len(tokens))
            pending.append(self._evaluate_but(reading, tokens, max(count, min(len(tokens), CHUNK))))
        starts = [self.cache.following(reading.cache_row) for reading in readings]
        rows = [reading.cache_row for reading in readings]
        at = [
            [min(len(tokens) - count + i, len(tokens) - 1) for i in range(max(wanted))]
            for tokens, count in zip(pending, wanted, strict=True)
        ]  # [B, n]
        window = Window.chain(rows, pending, starts, self.model.device)
        evaluation = self.model.evaluate(window, self.cache, Want(logits=torch.tensor(at, device=self.model.device)))
        assert evaluation.logits is not None
        return Read(in_vocabulary(evaluation.logits, self.vocabulary), slots)

    def rewind(self, reading: Reading) -> None:
        """Forget what is beyond the committed tokens, and the last of them, which the next evaluation begins with."""
        self.cache.rewind(reading.cache_row, len(reading) - 1)

    def _evaluate_but(self, reading: Reading, tokens: list[int], left: int) -> list[int]:
        """Evaluate all but the last `left` of the tokens; those are handed back."""
        self._require(tokens)
        done = max(0, len(tokens) - left)
        skip(self.model, self.cache, reading.cache_row, tokens[:done])
        return tokens[done:]

    def _require(self, tokens: Sequence[int]) -> None:
        """Raise Unsupported for a token that the model lacks."""
        if self.model.vocabulary < self.vocabulary and max(tokens) >= self.model.vocabulary:
            raise Unsupported(  # what it says is part of the answer, so that it cannot read another in its place
                f"token {max(tokens)} is none of the {self.model.vocabulary} tokens of {self.model.name}",
                hint="use a second model of the same tokenizer",
            )


def second_model(context: Context, setting: str | Model) -> Model:
    """The model that a setting names or is. Raises Unsupported where its vocabulary is another."""
    return context.second(setting)
