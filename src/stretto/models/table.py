"""A model whose next-token probabilities are written down: for tests by exact enumeration, and for thinking.

It reads the tokens of the path from the cache, where it stores each token as its one-number key, so a
mistake in keeping, truncating or forking shows up as wrong probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache as remember
from itertools import compress

import torch
from torch import Tensor

from .blocks import CacheShape
from .cache import Cache, KeyForm
from .contract import Ability, Evaluation, Want
from .masked import Masking
from .place import visibility
from .window import Window


class TableModel:
    """Logits as a function of the tokens on the path: `rule(path) -> V numbers`.

    The path holds the tokens that the slot may see, ordered by position, itself last.
    """

    layers = 1
    channels = 1
    heads = 1
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

        @remember
        def after(tokens: tuple[int, ...]) -> Sequence[float]:
            key = seed
            for token in tokens:
                key = key * 1_000_003 + token + 7
            generator = torch.Generator().manual_seed(key % (2**63 - 1))
            return tuple((sharpness * torch.randn(vocabulary, generator=generator, dtype=torch.float64)).tolist())

        def rule(path: tuple[int, ...]) -> list[float]:
            return list(after(path[-order:]))

        return cls(vocabulary, rule)

    def new_cache(self, rows: int = 1, slots: int = 64, key_form: KeyForm = "rotated") -> Cache:
        return Cache(CacheShape(1, 1, 1, 1, torch.float64, self.device), rows, slots, key_form)

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        place = cache.place(window)
        tokens = window.tokens[:, None, :, None].to(torch.float64)  # [B, 1, T, 1]
        keys, _ = cache.append(0, tokens, tokens, place)  # [B, 1, S, 1]
        mask = visibility(place, cache)
        positions = cache.positions(place).tolist()
        cache.settle(place)
        if want.logits is False:
            return Evaluation()
        held, asking = keys[:, 0, :, 0].tolist(), window.positions.tolist()
        visible = None if mask is None else mask.expand(len(held), -1, -1, -1)[:, 0].tolist()
        slots, said = [], []
        for r, length in enumerate(window.lengths):
            asked = set(want.logits[r].tolist()) if isinstance(want.logits, Tensor) else range(length)
            at = positions[r]
            for slot in asked:
                seen = range(len(at)) if visible is None else compress(range(len(at)), visible[r][slot])
                ordered = sorted(seen, key=at.__getitem__)
                tokens_seen = [int(held[r][each]) for each in ordered]
                slots.append((r, slot))
                said.append(self._say(asking[r][slot], [at[each] for each in ordered], tokens_seen))
        logits = torch.zeros(*window.tokens.shape, self.vocabulary, dtype=torch.float64)
        if slots:
            logits[tuple(torch.tensor(slots).T)] = torch.tensor(said, dtype=torch.float64)
        if isinstance(want.logits, Tensor):
            logits = logits.gather(1, want.logits[..., None].expand(-1, -1, self.vocabulary))
        return Evaluation(logits=logits)

    def _say(self, position: int, positions: Sequence[int], tokens: Sequence[int]) -> Sequence[float]:
        """The logits [V] of the slot at `position`, which sees these tokens at these positions, ascending."""
        return self.rule(tuple(tokens))

    def embed(self, tokens: Tensor) -> Tensor:
        return tokens[..., None].to(torch.float64)

    def read_out(self, hidden: Tensor) -> Tensor:
        raise NotImplementedError("a table has no hidden rows")


Seen = dict[int, int]  # position -> token


class MaskedTable(TableModel):
    """A masked-diffusion model written down: `says(position, seen) -> V numbers` about the token at a position.

    `seen` is all that the position sees, masks included. With a shift, the row before a position speaks of it.
    """

    def __init__(
        self,
        vocabulary: int,
        says: Callable[[int, Seen], Sequence[float]],
        masking: Masking,
        max_positions: int = 4096,
    ) -> None:
        super().__init__(vocabulary, lambda path: [], max_positions)
        self.says = says
        self.masking = masking
        self.name = f"masked-table-{vocabulary}"

    @classmethod
    def random_masked(cls, vocabulary: int, seed: int, masking: Masking, sharpness: float = 1.5) -> MaskedTable:
        """Reproducible random logits that depend on the position and on everything it sees."""

        said: dict[int, list[float]] = {}

        def says(position: int, seen: Seen) -> list[float]:
            key = hash((seed, position, *sorted(seen.items()))) % (2**63 - 1)
            if key not in said:
                generator = torch.Generator().manual_seed(key)
                said[key] = (sharpness * torch.randn(vocabulary, generator=generator, dtype=torch.float64)).tolist()
            return said[key]

        return cls(vocabulary, says, masking)

    def _say(self, position: int, positions: Sequence[int], tokens: Sequence[int]) -> Sequence[float]:
        seen = dict(zip(positions, tokens, strict=True))
        logits = list(self.says(position + self.masking.shift, seen))
        logits[self.masking.mask] = -torch.inf
        return logits


class ExactJoint(MaskedTable):
    """The conditionals of one joint distribution of L tokens after a prompt: what a perfect model would say.

    `joint` [V] * L are probabilities; the mask is token V. Tokens outside of the L positions are ignored.
    """

    def __init__(self, joint: Tensor, prompt: int = 1) -> None:
        size = joint.shape[0]
        super().__init__(size + 1, self._conditional, Masking(size))
        self.joint = joint.to(torch.float64) / joint.sum()
        self.prompt = prompt  # tokens before the first of the L
        self._said: dict[tuple[int, ...], list[float]] = {}

    def _conditional(self, position: int, seen: Seen) -> list[float]:
        """Log-probabilities at one position given those that are filled; any where these cannot be together."""
        at = position - self.prompt
        if not 0 <= at < self.joint.dim():
            return [0.0] * self.vocabulary
        known = [seen.get(self.prompt + each, self.masking.mask) for each in range(self.joint.dim())]
        known[at] = self.masking.mask
        if (at, *known) not in self._said:
            self._said[at, *known] = self._work_out(at, known)
        return self._said[at, *known]

    def _work_out(self, at: int, known: list[int]) -> list[float]:
        part = self.joint[tuple(slice(None) if token == self.masking.mask else token for token in known)]
        rest = [each for each in range(self.joint.dim()) if known[each] == self.masking.mask]
        others = tuple(axis for axis, each in enumerate(rest) if each != at)
        weights = part.sum(others) if others else part
        logits = weights.log() if bool(weights.any()) else torch.zeros_like(weights)
        return [*logits.tolist(), -torch.inf]


def scripted(
    script: dict[tuple[int, ...], Sequence[Sequence[float]]], masking: Masking, prompt: int = 1
) -> MaskedTable:
    """A model that gives for each canvas after the prompt the probabilities written down; V counts the mask."""
    (vocabulary,) = {len(row) for rows in script.values() for row in rows}

    def says(position: int, seen: Seen) -> list[float]:
        if position < prompt:
            return [0.0] * vocabulary
        canvas = tuple(token for _, token in sorted(seen.items()))[prompt:]
        return torch.tensor(script[canvas][position - prompt], dtype=torch.float64).log().tolist()

    return MaskedTable(vocabulary, says, masking)
