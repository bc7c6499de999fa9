"""Packed rows of training tokens: whole chats first, real text in the room that is left."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol, Self

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from stretto.gym import tasks
from stretto.gym.mixture import Chat, Mixture
from stretto.train.tokenizer import ASSISTANT, BOS, END, SYSTEM, USER

PROMPT_SAMPLE = 0.1  # questions hold random words that nothing could foretell: learn from one in ten of their tokens
CHAT_PART = 0.84  # a row takes chats until this part is full (on average they fill more)
CHATS_AT_ONCE = 32
FIRST_LENGTH = 256  # of a row in the first part of training
TEXT_SHARES = {"prose": 0.4, "code": 0.6}
KINDS = (*tasks(), "gsm8k", "prose", "code")

Ids = np.ndarray[tuple[int], np.dtype[np.int64]]
Weights = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of tokens with the weight of each token's loss and the kind of text it belongs to."""

    tokens: torch.Tensor  # [B, T] int64
    weights: torch.Tensor  # [B, T] float32; the weight of *predicting* this token, 0 where it is not asked for
    kinds: torch.Tensor  # [B, T] int64, an index into the source's kinds
    texts: torch.Tensor  # [B, T] int64, which of its row's texts (chats, real text) a token belongs to: 0, 1, …

    def rows(self, start: int, end: int) -> Self:
        """Rows start … end − 1 alone."""
        return type(self)(*(getattr(self, field.name)[start:end] for field in fields(self)))


class Source(Protocol):
    """What a training run learns from: any batch from its number alone."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What `Batch.kinds` are indices into."""

    def batch(self, number: int, rows: int, length: int) -> Batch:
        """Batch `number`: `rows` rows of `length` tokens; a pure function of these three."""


class Batches:
    """Makes any batch from its number alone, so that training goes on after a stop exactly where it was."""

    kinds: ClassVar[tuple[str, ...]] = KINDS

    def __init__(self, mixture: Mixture, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self._mixture, self._tokenizer, self._seed = mixture, tokenizer, seed
        mark = {token: tokenizer.convert_tokens_to_ids(token) for token in (BOS, END, SYSTEM, USER, ASSISTANT)}
        self._bos, self._end, self._system, self._user, self._assistant = mark.values()
        texts = {"prose": mixture.prose, "code": mixture.code}
        self._texts = {name: self._long_ids(parts) for name, parts in texts.items() if parts}

    def batch(self, number: int, rows: int, length: int) -> Batch:
        """Batch `number`: `rows` rows of `length` tokens; a pure function of the seed and these three."""
        key = f"{self._seed}/{number}/{length}"
        rng = random.Random(key)
        chats = self._encoded(
            self._mixture.chats(f"train/{key}", late=length > FIRST_LENGTH),
            np.random.default_rng(rng.getrandbits(64)),
            length,
        )
        tokens, kinds, texts = (np.zeros((rows, length), np.int64) for _ in range(3))
        weights = np.zeros((rows, length), np.float32)
        waiting = next(chats)
        for row in range(rows):
            used = text = 0
            while used < CHAT_PART * length:
                ids, weight, kind = waiting
                if used + len(ids) > length:
                    if used > 0:
                        break  # it opens the next row
                else:
                    span = slice(used, used + len(ids))
                    tokens[row, span], weights[row, span], kinds[row, span], texts[row, span] = ids, weight, kind, text
                    used, text = used + len(ids), text + 1
                waiting = next(chats)
            if used < length:
                name = rng.choices(list(self._texts), [TEXT_SHARES[kind] for kind in self._texts])[0]
                tokens[row, used:] = self._slice(rng, self._texts[name], length - used)
                weights[row, used:], kinds[row, used:], texts[row, used:] = 1.0, KINDS.index(name), text
        return Batch(*map(torch.from_numpy, (tokens, weights, kinds, texts)))

    def _slice(self, rng: random.Random, text: Ids, size: int) -> Ids:
        start = rng.randrange(len(text) - size)
        return np.concatenate([[self._bos], text[start : start + size - 1]])

    def _encoded(
        self, chats: Iterator[Chat], rng: np.random.Generator, length: int
    ) -> Iterator[tuple[Ids, Weights, int]]:
        """Chats as token ids, loss weights and kind; encoded many at a time because that is faster."""
        while True:
            some = [next(chats) for _ in range(CHATS_AT_ONCE)]
            texts = [text for chat in some for text in (chat.system, chat.prompt, chat.answer)]
            ids = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
            for index, chat in enumerate(some):
                system, prompt, answer = ids[3 * index : 3 * index + 3]
                head = [self._system, *system, self._end] if chat.system else []
                head += [self._user, *prompt, self._end, self._assistant]
                yield (
                    *self._asked(np.array([*head, *answer, self._end]), len(head), rng, length),
                    KINDS.index(chat.kind),
                )

    def _asked(self, ids: Ids, head: int, rng: np.random.Generator, length: int) -> tuple[Ids, Weights]:
        """A chat whose first `head` tokens are the question, with the weight of each token; rows have `length`."""
        weights = np.ones(len(ids))
        weights[:head] = rng.random(head) < PROMPT_SAMPLE
        return ids, weights

    def _long_ids(self, texts: tuple[str, ...]) -> Ids:
        rows = self._tokenizer.backend_tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return np.concatenate([np.array([*row.ids, self._end], dtype=np.int64) for row in rows])
