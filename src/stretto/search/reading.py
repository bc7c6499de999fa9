"""What a model makes of the texts that a scorer is asked about: its rows at their ends, in a cache of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..errors import Unsupported
from ..models.contract import Model, Want
from ..models.reading import CHUNK, skip
from ..models.window import Window

if TYPE_CHECKING:
    from torch import Tensor

    from .scorer import Draft

KEPT = 128  # texts that stay read, those that were last asked about
Text = tuple[int, ...]


class Readings:
    """Texts that were read, by their tokens. What two of them begin with alike is read once."""

    def __init__(self, model: Model, layers: Sequence[int]) -> None:
        self.model = model
        self.tokens = 0  # that were evaluated
        self._want = Want(logits=False, hidden=tuple(layers))
        self._cache = model.new_cache()
        self._rows: dict[Text, int] = {}  # of the cache, by what they hold; those that were last used at the end

    def ends(self, drafts: Sequence[Draft]) -> dict[int, Tensor]:
        """The rows that leave the layers at the last token of each prompt and draft: layer -> [N, C].

        Raises Unsupported for a text that is longer than the model's positions.
        """
        texts = [(*draft.prompt, *draft.tokens) for draft in drafts]
        if max(map(len, texts)) > self.model.max_positions:
            raise Unsupported(
                f"a text of {max(map(len, texts))} tokens is longer than {self.model.name} reads",
                hint="shorter answers",
            )
        for draft in drafts:
            self._known(draft.prompt[:-1])
        found = [self._extended(texts[at : at + KEPT]) for at in range(0, len(texts), KEPT)]
        while len(self._rows) > KEPT:
            self._cache.free(self._rows.pop(next(iter(self._rows))))
        return {layer: torch.cat([each[layer] for each in found]) for layer in self._want.hidden}

    def _known(self, text: Text) -> None:
        """Read a prompt, which many drafts share, unless it has been read."""
        if text and text not in self._rows:
            row = self._fork(text)
            unread = text[self._cache.following(row) :]
            self.tokens += len(unread)
            skip(self.model, self._cache, row, unread)
            self._rows[text] = row
        elif text:
            self._rows[text] = self._rows.pop(text)

    def _fork(self, text: Text) -> int:
        """A row that holds the longest beginning of the text that was read, without its last token."""
        least = max((known for known in self._rows if text[: len(known)] == known), key=len, default=())
        if not least:
            return self._cache.open()
        self._rows[least] = self._rows.pop(least)
        row = self._cache.fork(self._rows[least])[0]
        self._cache.truncate(row, min(len(least), len(text) - 1))
        return row

    def _extended(self, texts: Sequence[Text]) -> dict[int, Tensor]:
        """Read what is new of some texts side by side, and keep them."""
        rows = [self._fork(text) for text in texts]
        new = []
        for row, text in zip(rows, texts, strict=True):
            unread = text[self._cache.following(row) :]
            self.tokens += len(unread)
            done = (len(unread) - 1) // CHUNK * CHUNK
            skip(self.model, self._cache, row, unread[:done])
            new.append(unread[done:])
        starts = [self._cache.following(row) for row in rows]
        evaluation = self.model.evaluate(Window.chain(rows, new, starts, self.model.device), self._cache, self._want)
        for row, text in zip(rows, texts, strict=True):
            if text in self._rows:
                self._cache.free(self._rows.pop(text))
            self._rows[text] = row
        last = torch.tensor([len(each) - 1 for each in new])
        lines = torch.arange(len(new))
        return {layer: rows_of[lines, last.to(rows_of.device)] for layer, rows_of in evaluation.hidden.items()}
