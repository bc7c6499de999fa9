"""Replay: the real network runs at its real cost, and its choices are forced to a reference text.

One logit of each slot is overwritten after the forward, so that the argmax is the reference's next token.
It goes by position: at a draft that deviates from the reference, what stands there was rejected at its
parent already. A draft model is never forced: it guesses by itself.

Where tokens are drawn, all other logits are first brought close together below the forced one, so that none of
them can win and none can be ruled out before the draw: drawing costs what it would cost at worst, on both sides.

Both sides are forced by the same operation in the same place, behind the network's forward: ours in a
`Model` around the model, transformers in a forward hook of the module. (Not in a logits processor: generate
hands those on to the draft model, which would then agree always, and calls them once for every candidate.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..generation import Counters
from ..models.around import Around
from ..models.cache import Cache
from ..models.contract import Evaluation, Model, Want
from ..models.hooks import cache_argument
from ..models.window import Window
from ..noise import WIDEST_GAP
from .rounds import Pass

FORCED = 1e4  # above any logit, and finite in every dtype
CLOSE = 1e-3  # what logits are multiplied by where tokens are drawn: then all lie within a fraction of one
CERTAIN = WIDEST_GAP - 0.27  # times the temperature: above those, no noise can make up for it, yet no gap rules out
SPARE = 256  # positions beyond the texts that drafts may reach into


@torch.inference_mode()
def force(logits: Tensor, wanted: Tensor, temperature: float = 0.0) -> None:
    """Make `wanted` [B, n] the choice at logits [B, n, V], greedy or drawn at `temperature`; in place."""
    if temperature:
        logits.mul_(CLOSE * temperature)
    logits.scatter_(-1, wanted[..., None], CERTAIN * temperature if temperature else FORCED)


def overwrite_at(
    logits: Tensor, table: Tensor, rows: Sequence[int], positions: Tensor, temperature: float = 0.0
) -> None:
    """Ours: `table` [R, P] is that of `followers`, `positions` [B, n] those of the slots, `rows` B rows of it."""
    table = table if len(table) == 1 else table[rows]
    force(logits, table.gather(1, positions), temperature)


def overwrite_up_to(logits: Tensor, table: Tensor, end: int, temperature: float = 0.0) -> None:
    """Theirs: the slots of logits [B, n, V] stand at the last n positions before `end`."""
    force(logits, table[:, end - logits.shape[1] : end], temperature)


def forcing_cost(overwrite: Callable[[], None], calls: int = 500) -> float:
    """Microseconds of one overwriting (the median of `calls`)."""
    taken = []
    for _ in range(calls):
        begun = perf_counter()
        overwrite()
        taken.append(perf_counter() - begun)
    return 1e6 * median(taken)


def forcing_costs(vocabulary: int, temperature: float = 0.0) -> dict[str, float]:
    """What forcing a window of one token costs each side, in microseconds."""
    logits, table = torch.zeros(1, 1, vocabulary), torch.zeros(1, SPARE, dtype=torch.int64)
    position = torch.zeros(1, 1, dtype=torch.int64)
    return {
        "stretto": forcing_cost(lambda: overwrite_at(logits, table, [0], position, temperature)),
        "transformers": forcing_cost(lambda: overwrite_up_to(logits, table, 1, temperature)),
    }


def followers(texts: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """For each text and position the token that follows it: [R, P]."""
    size = max(map(len, texts)) + SPARE
    return torch.tensor([[*text[1:], *([0] * (size - len(text) + 1))] for text in texts], device=device)


class Replayed(Around):
    """A model whose choices can be forced; as long as no text is set it is the model itself."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._next: Tensor | None = None  # [R, P]
        self._temperature = 0.0

    def follow(self, table: Tensor | None, temperature: float = 0.0) -> None:
        """Force row r of every new cache to row r of a table of `followers`; None sets the model free.

        `temperature` is that of the requests to come.
        """
        self._next, self._temperature = table, temperature

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        """The model's own evaluation; then the logits are overwritten."""
        evaluation = super().evaluate(window, cache, want)
        if self._next is not None and evaluation.logits is not None:
            positions = window.positions
            if isinstance(want.logits, Tensor):
                positions = positions.gather(1, want.logits)
            overwrite_at(evaluation.logits, self._next, window.rows, positions, self._temperature)
        return evaluation


class Watched:
    """A transformers module whose forwards are counted, and whose choices can be forced."""

    def __init__(self, module: PreTrainedModel) -> None:
        self.module = module
        self.counters = Counters()
        self.passes: list[Pass] = []
        self._next: Tensor | None = None  # [R, P], positions of the padded batch
        self._temperature = 0.0
        self._cache = cache_argument(module)
        module.register_forward_hook(self._after, with_kwargs=True)

    def follow(self, table: Tensor | None, temperature: float = 0.0) -> None:
        """Force row r to row r of a table of `followers`, padded on the left as the batch is; None: free.

        The counters and the record of passes begin anew.
        """
        self.counters = Counters()
        self.passes = []
        self._next, self._temperature = table, temperature

    def _after(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        rows, slots = output.logits.shape[:2]
        self.counters.rounds += 1
        self.counters.row_forwards += rows
        self.counters.token_forwards += rows * slots
        cache = kwargs.get(self._cache)
        end = slots if cache is None else cache.get_seq_length()  # the window's last slot stands before this
        self.passes.append(Pass(perf_counter(), end - slots, slots))
        if self._next is not None:
            overwrite_up_to(output.logits, self._next, end, self._temperature)
