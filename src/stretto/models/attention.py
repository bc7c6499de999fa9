"""Attention of query rows over cached keys and values, with grouped heads and a mask of our own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    *,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """What each query reads: [B, H, T, size].

    query [B, H, T, size], keys and values [B, G, S, size] with H a multiple of G, mask bool [B or 1, 1, T, S]
    (None: everything is open; every query must see at least one key). `softcap` bounds the scores by tanh, as
    Gemma 2 does (arXiv 2408.00118); `sinks` [H] are scores of what every query may read instead, which is nothing, as
    in gpt-oss (arXiv 2508.10925). Query heads that share a key head are laid one after another on the query axis, so
    that keys and values are never repeated.
    """
    batch, heads, size, width = query.shape
    shared = heads // keys.shape[1]
    if shared > 1:
        query = query.reshape(batch, keys.shape[1], shared * size, width)
        if mask is not None and size > 1:
            mask = mask.repeat(1, 1, shared, 1)
    if softcap is None and sinks is None:
        read = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scale)
    else:
        if sinks is not None:
            sinks = sinks.view(-1, shared, 1).expand(-1, -1, size).reshape(-1, shared * size, 1)
        read = probabilities(query, keys, mask, scale=scale, softcap=softcap, sinks=sinks) @ values
    return read.reshape(batch, heads, size, values.shape[-1])


def probabilities(
    query: Tensor,
    keys: Tensor,
    mask: Tensor | None,
    *,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """How much each query reads of each key, [B, H, T, S]; query and keys have the same heads, mask as in `attend`.

    `sinks` [H or 1, T or 1, 1]: with them, a query's shares add up to less than one.
    """
    scores = (query @ keys.transpose(-1, -2)) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    if sinks is not None:
        scores = torch.cat([scores, sinks.expand(*scores.shape[:-1], 1)], dim=-1)
    shares = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    return shares if sinks is None else shares[..., :-1]


def shares(
    queries: Tensor,
    keys: Tensor,
    mask: Tensor | None,
    cap: float | None,
    *,
    change: Callable[[Tensor], Tensor] | None = None,
    group: int = 1,
) -> Tensor:
    """How much queries [..., N, size], scaled, read of keys [..., S, size]: [..., N, S] float32.

    `mask` is what to add to their scores, which `cap` bounds before, by tanh. `change` is asked with the scores by
    heads, [B, H, T, S]: of [B, G, T * group, S], where `group` heads share a key head.
    """
    scores = queries.float() @ keys.float().mT
    if cap is not None:
        scores.div_(cap).tanh_().mul_(cap)
    scores = scores if mask is None else scores + mask
    if change is not None:
        batch, key_heads, _, slots = scores.shape
        apart = scores.view(batch, key_heads, -1, group, slots).transpose(2, 3)  # [B, G, group, T, S]
        changed = change(apart.flatten(1, 2)).view(apart.shape)
        scores = changed.transpose(2, 3).reshape(scores.shape)
    return scores.softmax(dim=-1)


def shares_of_head(
    head: int,
    group: int,
    queries: Tensor,
    keys: Tensor,
    mask: Tensor | None,
    *,
    cap: float | None,
    by: Callable[[Tensor, Tensor, Tensor | None, float | None], Tensor] = shares,
) -> Tensor:
    """The same of one query head, [B, T, S]; queries [B, key heads, T * group, size] are rows of their key heads."""
    key_head, member = divmod(head, group)
    shut = None if mask is None else mask[:, 0, member::group]
    return by(queries[:, key_head, member::group], keys[:, key_head], shut, cap)
