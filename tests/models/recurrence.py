"""A network with a state per row, written down: exact numbers, and logits that depend on all tokens and their order."""

from __future__ import annotations

import torch
from torch import Tensor

from stretto.models.contract import Ability, Evaluation, Want
from stretto.models.recurrent import Recurrent
from stretto.models.window import Window

PRIME = 10_007


class Recurrence:
    """The state [2] after a token is a fixed linear map of the one before, plus the token, modulo a prime."""

    layers = channels = heads = 1
    abilities = Ability.TREE
    max_positions = 4096
    device = torch.device("cpu")
    dtype = torch.float64
    name = "recurrence"

    def __init__(self, vocabulary: int, sparse: bool = False) -> None:
        """`sparse`: of a window it keeps the last state alone."""
        self.vocabulary = vocabulary
        self.sparse = sparse

    def new_cache(self, rows: int = 1, slots: int = 64, key_form: str = "rotated") -> Recurrent:
        return Recurrent()

    def after(self, cache: Recurrent, row: int) -> Tensor:
        """The state [2] after all tokens of a row."""
        state, unread = cache.state(row)
        state = torch.tensor([1, 2]) if state is None else state
        for token in unread:
            state = self.step(state, token)
        if unread:
            cache.read(row, state)
        return state

    def step(self, state: Tensor, token: int) -> Tensor:
        first, second = state.tolist()
        return torch.tensor([(31 * first + second + token) % PRIME, (17 * second + 5 * token + 1) % PRIME])

    def logits(self, state: Tensor) -> Tensor:
        seed = int(state[0]) * PRIME + int(state[1])
        return 1.5 * torch.randn(self.vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def evaluate(self, window: Window, cache: Recurrent, want: Want = Want()) -> Evaluation:
        logits = torch.zeros(*window.tokens.shape, self.vocabulary, dtype=torch.float64)
        for r, (row, length) in enumerate(zip(window.rows, window.lengths, strict=True)):
            states = [self.after(cache, row)]
            for slot in range(length):
                above = slot - 1
                if window.visible is not None:
                    above = max((at for at in range(slot) if window.visible[r, slot, at]), default=-1)
                states.append(self.step(states[above + 1], int(window.tokens[r, slot])))
                logits[r, slot] = self.logits(states[-1])
            tokens, positions = window.tokens[r, :length].tolist(), window.positions[r, :length].tolist()
            branching = window.visible is not None  # then the slots before one are not all above it
            cache.append(row, tokens, positions, states[1:][-1 if self.sparse else 0 :] if not branching else [])
        if isinstance(want.logits, Tensor):
            logits = logits.gather(1, want.logits[..., None].expand(-1, -1, self.vocabulary))
        return Evaluation(logits=None if want.logits is False else logits)
