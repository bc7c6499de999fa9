"""A model whose next-token probabilities are written down: for tests by exact enumeration, and for thinking.

It reads the tokens of the path from the cache, where it stores each token as its one-number key, so a
mistake in keeping, truncating or forking shows up as wrong probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .cache import Cache, CacheShape, KeyForm, visibility
from .contract import Ability, Evaluation, Want
from .window import Window


class TableModel:
    """Logits as a function of the tokens on the path: `rule(path) -> V numbers`.

    The path holds the tokens that the slot may see, ordered by position, itself last.
    """

    layers = 1
    channels = 1
    abilities = Ability.TREE
    dtype = torch.float64

    def __init__(
        self, vocabulary: int, rule: Callable[[tuple[int, ...]], Sequence[float]], max_positions: int = 4096
    ) -> None:
        self.vocabulary = vocabulary
        self.rule = rule
        self.max_positions = max_positions
        self.device = torch.device("cpu")
        self.name = f"table-{vocabulary}"

    @classmethod
    def random(cls, vocabulary: int, seed: int, order: int = 2, sharpness: float = 1.5) -> TableModel:
        """Reproducible random logits that depend on the last `order` tokens of the path."""

        def rule(path: tuple[int, ...]) -> list[float]:
            key = seed
            for token in path[-order:]:
                key = key * 1_000_003 + token + 7
            generator = torch.Generator().manual_seed(key % (2**63 - 1))
            return (sharpness * torch.randn(vocabulary, generator=generator, dtype=torch.float64)).tolist()

        return cls(vocabulary, rule)

    def new_cache(self, rows: int = 1, slots: int = 64, key_form: KeyForm = "rotated") -> Cache:
        return Cache(CacheShape(1, 1, 1, 1, torch.float64, self.device), rows, slots, key_form)

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        place = cache.place(window)
        tokens = window.tokens[:, None, :, None].to(torch.float64)  # [B, 1, T, 1]
        keys, _ = cache.append(0, tokens, tokens, place)  # [B, 1, S, 1]
        mask = visibility(place, cache)
        if mask is None:
            mask = torch.ones(1, 1, tokens.shape[2], keys.shape[2], dtype=torch.bool)
        mask = mask.expand(len(window.rows), 1, -1, -1)
        positions = cache.positions(place)
        cache.settle(place)
        if want.logits is False:
            return Evaluation()
        logits = torch.zeros(*window.tokens.shape, self.vocabulary, dtype=torch.float64)
        for r, length in enumerate(window.lengths):
            for slot in range(length):
                seen = mask[r, 0, slot].nonzero()[:, 0]
                ordered = seen[positions[r, seen].argsort(stable=True)]
                path = tuple(int(key) for key in keys[r, 0, ordered, 0])
                logits[r, slot] = torch.tensor(self.rule(path), dtype=torch.float64)
        if isinstance(want.logits, Tensor):
            logits = logits.gather(1, want.logits[..., None].expand(-1, -1, self.vocabulary))
        return Evaluation(logits=logits)

    def embed(self, tokens: Tensor) -> Tensor:
        return tokens[..., None].to(torch.float64)

    def read_out(self, hidden: Tensor) -> Tensor:
        raise NotImplementedError("a table has no hidden rows")
