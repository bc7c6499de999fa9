"""Models of one tokenizer whose embeddings are padded to different sizes."""

from __future__ import annotations

import torch
from torch import Tensor

PADDING = 0.01  # of the larger vocabulary: by how much sizes of one family differ


def alike(first: int, second: int) -> bool:
    """Whether models with so many tokens may be of one tokenizer."""
    return abs(first - second) <= PADDING * max(first, second)


def in_vocabulary(logits: Tensor, vocabulary: int) -> Tensor:
    """Logits [..., V'] over a vocabulary of another size: surplus columns cut, missing ones excluded."""
    missing = vocabulary - logits.shape[-1]
    if missing > 0:
        return torch.nn.functional.pad(logits, (0, missing), value=-torch.inf)
    return logits[..., :vocabulary] if missing < 0 else logits
