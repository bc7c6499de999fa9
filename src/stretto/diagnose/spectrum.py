"""What a head says, position by position: its entropy, the gap to another head, and whether states that mean the same
continuations lie together (arXiv 2507.19247)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import InvalidRequest

if TYPE_CHECKING:
    from torch import Tensor


def head_entropy(logits: Tensor) -> float:
    """Mean Shannon entropy in nats of the next-token distributions: logits [N, V]."""
    logarithms = logits.double().log_softmax(-1)
    probabilities = logarithms.exp()
    terms = probabilities * logarithms.where(probabilities > 0, 0.0)  # 0 ln 0 = 0
    return float(-terms.sum(-1).mean())


def head_gap(target: Tensor, draft: Tensor) -> float:
    """Mean KL(target ‖ draft) in nats: what drafting by the other head loses; logits [N, V] each."""
    p, q = target.double().log_softmax(-1), draft.double().log_softmax(-1)
    terms = p.exp() * (p - q).where(p > -torch.inf, 0.0)
    return float(terms.sum(-1).mean())


def predictive_rows(logits: Tensor) -> Tensor:
    """Rows [N, V] whose inner products are the predictive similarity of contexts: Σ √(p_i p_j)."""
    return logits.double().softmax(-1).sqrt()


def read_rows(logits: Tensor) -> Tensor:
    """Rows [N, V] of hidden states read through the head: logits without what the softmax does not see."""
    finite = logits.double()
    return finite - finite.mean(-1, keepdim=True)


def overlap(first: Tensor, second: Tensor, size: int) -> float:
    """Mean squared cosine of the principal angles between the top eigenspaces of two Gram matrices.

    Rows [N, D] and [N, E] of the same N contexts, centred here; 1 where the `size` first directions span the same
    space, about size / N for strangers. Raises InvalidRequest where there are fewer contexts than directions.
    """
    count = len(first)
    if len(second) != count or not 1 <= size < count:
        raise InvalidRequest(f"{size} directions of {count} and {len(second)} contexts", hint="1 <= size < contexts")
    spaces = [_top(rows.double() - rows.double().mean(0), size) for rows in (first, second)]
    return float((spaces[0].T @ spaces[1]).square().sum() / size)


def _top(rows: Tensor, size: int) -> Tensor:
    """Orthonormal eigenvectors [N, size] of the Gram matrix of rows [N, D], largest eigenvalues first."""
    _, vectors = torch.linalg.eigh(rows @ rows.T)
    return torch.as_tensor(vectors[:, -size:])
