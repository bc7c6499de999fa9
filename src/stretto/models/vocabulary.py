"""Models of one tokenizer whose embeddings are padded to different sizes: whether they fit, and how they meet.

Ids at or above the smaller size are padding: no text has them. So a smaller model never guesses them, what a larger
one says of them is cut, and where a smaller one that drafts has to read one that was chosen after all, it reads another
in its place: its guesses are then the worse for it, and the answer is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..errors import Unsupported

if TYPE_CHECKING:
    from torch import Tensor

PADDING = 0.01  # of the larger vocabulary: by how much sizes of one family differ
ROUND, MOST = 64, 512  # or a small one is rounded up to a multiple of ROUND, by less than MOST
NEVER = -3e4  # a logit that leaves no probability, and is still a number where a steer excludes all others


def alike(first: int, second: int) -> bool:
    """Whether models with so many tokens may be of one tokenizer."""
    larger, surplus = max(first, second), abs(first - second)
    return surplus <= PADDING * larger or (larger % ROUND == 0 and surplus < min(MOST, larger / 2))


def require_fit(name: str, size: int, vocabulary: int, same_tokenizer: bool | None = None) -> None:
    """Raise Unsupported unless a second model of `size` tokens can serve a target of `vocabulary` tokens.

    `same_tokenizer`: whether both have the same; None: not known, so that the sizes must tell.
    """
    if same_tokenizer is False:
        raise Unsupported(
            f"the second model {name!r} has another vocabulary than the target",
            hint="use a model of the same tokenizer, or draft with 'lookup', which needs none",
        )
    if same_tokenizer is None and not alike(size, vocabulary):
        raise Unsupported(
            f"the second model {name!r} has {size} tokens, the target {vocabulary}",
            hint="use a model of the same tokenizer, or draft with 'lookup', which needs none",
        )


def in_vocabulary(logits: Tensor, vocabulary: int, excluded: float = -math.inf) -> Tensor:
    """Logits [..., V'] over a vocabulary of another size: surplus columns cut, missing ones `excluded`."""
    missing = vocabulary - logits.shape[-1]
    if missing > 0:
        return torch.nn.functional.pad(logits, (0, missing), value=excluded)
    return logits[..., :vocabulary] if missing < 0 else logits


def readable(tokens: Sequence[int], vocabulary: int) -> list[int]:
    """The tokens as a model of `vocabulary` tokens can read them: its last one in the place of any beyond."""
    return [min(token, vocabulary - 1) for token in tokens]
