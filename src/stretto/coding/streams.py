"""Texts side by side through a model: what each symbol is coded with, and the symbols back from the bits.

Each text is read in windows. Each begins with the token that begins texts, and then the second and later ones with the
last `context` tokens before it. The writer knows all tokens and evaluates a window at once; the reader goes token by
token, all texts side by side. So the model must compute the same bits in windows of any size, whatever stands beside
(`Numbers.bits`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..constrain.tokens import Tokens
from ..errors import InvalidRequest
from ..models.contract import Model, Want
from ..models.reading import skip
from ..models.store import Store
from ..models.window import Window
from .frequencies import bounds, intervals, summed
from .range_coder import Reader, Writer
from .symbols import LONGEST, Symbol

Watch = Callable[[int], object]  # told of plain bytes that are done
FLAG = 1 << 16  # one symbol in so many is expected to be bytes


@dataclass(frozen=True, eq=False)
class Streams:
    """Codes texts by a model, which reads `window` tokens at most, `context` of them again from the window before."""

    model: Model
    tokens: Tokens
    start: int  # the token that begins texts
    window: int
    context: int  # 0 to window - 1

    @cached_property
    def _spelt(self) -> Tensor:
        """Which tokens spell something [V]."""
        spelt = [bool(self.tokens.text_of(token)) for token in range(len(self.tokens))]
        spelt += [False] * (self.model.vocabulary - len(spelt))
        return torch.tensor(spelt[: self.model.vocabulary], device=self.model.device)

    # -- writing ----------------------------------------------------------------------------------

    def write(self, text: Sequence[Symbol]) -> bytes:
        """One text as bits."""
        writer = Writer()
        likely = self._intervals([symbol for symbol in text if isinstance(symbol, int)])
        for symbol in text:
            if isinstance(symbol, int):
                writer.put(0, FLAG - 1, FLAG)
                writer.put(*next(likely))
            else:
                writer.put(FLAG - 1, 1, FLAG)
                writer.put(len(symbol) - 1, 1, LONGEST)
                for byte in symbol:
                    writer.put(byte, 1, 256)
        return writer.end()

    def _intervals(self, tokens: list[int]) -> Iterator[tuple[int, int, int]]:
        """Of each token, after those before it."""
        done = 0
        while done < len(tokens):
            before = self._before(tokens[:done])
            after = tokens[done : done + self.window + 1 - len(before)]
            read = [*before, *after[:-1]]
            wanted = torch.arange(len(before) - 1, len(read), device=self.model.device)[None]
            cache = self.model.new_cache(1, len(read))
            window = Window.chain([cache.open()], [read], [0], self.model.device)
            logits = self.model.evaluate(window, cache, Want(logits=wanted)).logits
            assert logits is not None
            yield from intervals(logits[0], after, self._spelt)
            done += len(after)

    def _before(self, tokens: Sequence[int]) -> list[int]:
        """What a window begins with that stands behind these tokens."""
        return [self.start, *tokens[max(0, len(tokens) - self.context) :]]

    # -- reading ----------------------------------------------------------------------------------

    def read(self, coded: Sequence[bytes], lengths: Sequence[int], watch: Watch = lambda done: None) -> list[bytes]:
        """The texts, of so many bytes; `watch` is told of them as they come.

        Raises InvalidRequest where they were not written so.
        """
        texts = [_Text(self.tokens, Reader(each), length) for each, length in zip(coded, lengths, strict=True)]
        left = [text for text in texts if text.goes_on()]
        while left:
            cache = self.model.new_cache(len(left), self.window)
            for text in left:
                text.row = cache.open()
                *before, text.last = self._before(text.found)
                skip(self.model, cache, text.row, before)
            at = len(before)
            while left and at < self.window:
                done = sum(len(text.spelt) for text in left)
                self._step(cache, left, at)
                watch(sum(len(text.spelt) for text in left) - done)
                left = [text for text in left if text.goes_on()]
                at += 1
        return [bytes(text.spelt) for text in texts]

    def _step(self, cache: Store, texts: Sequence[_Text], position: int) -> None:
        """One more token of each, behind those that the cache holds."""
        rows, last = [text.row for text in texts], [[text.last] for text in texts]
        window = Window.chain(rows, last, [position] * len(rows), self.model.device)
        logits = self.model.evaluate(window, cache).logits
        assert logits is not None
        sums = summed(logits[:, 0], self._spelt)  # [B, V]
        asked = [text.reader.peek(total) for text, total in zip(texts, sums[:, -1].tolist(), strict=True)]
        chosen = torch.searchsorted(sums, torch.tensor(asked, device=sums.device)[:, None], right=True)  # [B, 1]
        found = zip(texts, *(each.tolist() for each in (chosen[:, 0], *bounds(sums, chosen))), strict=True)
        for text, token, start, size in found:
            text.reader.take(start, size)
            text.add(token)


@dataclass(slots=True, eq=False)
class _Text:
    """One text that is being read."""

    tokens: Tokens
    reader: Reader
    length: int  # bytes
    spelt: bytearray = field(default_factory=bytearray)
    found: list[int] = field(default_factory=list)  # tokens
    row: int = 0  # of the cache
    last: int = 0  # the token that is evaluated next

    def add(self, token: int) -> None:
        """A token that was read."""
        self.found.append(token)
        self.spelt += self.tokens.text_of(token)
        self.last = token

    def goes_on(self) -> bool:
        """Whether a token comes next, after bytes where such come first. Raises InvalidRequest beyond the length."""
        while len(self.spelt) < self.length:
            if self.reader.peek(FLAG) < FLAG - 1:
                self.reader.take(0, FLAG - 1)
                return True
            self.reader.take(FLAG - 1, 1)
            self.spelt += bytes(self._number(256) for _ in range(1 + self._number(LONGEST)))
        if len(self.spelt) > self.length:
            raise InvalidRequest("these bytes are damaged: a text is too long", hint="fetch the file again")
        return False

    def _number(self, total: int) -> int:
        found = self.reader.peek(total)
        self.reader.take(found, 1)
        return found
