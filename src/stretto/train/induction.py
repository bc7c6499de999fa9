"""First weights with which a network copies before it has learnt anything.

Most answers of the gym copy from their question. The circuit that copies (induction, arXiv 2209.11895) takes two
layers: one head writes, beside each token, the token before it; a head of the next layer looks for the place where
the *present* token stands as such a token before, and writes what stands there. Small networks find it late and
suddenly, after a plateau of thousands of steps; written into the first weights by hand, it copies 4 of 5 tokens of a
repeated random sequence at step 0, and training refines it from there.

The channels of the residual stream begin in three parts: half of them hold the token (what the embedding writes), the
others the token before, and the last one is constant, so that a head can look one place back whatever stands there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

TOKEN = 1.0  # standard deviation of the embedding's entries
CONSTANT = 4.0  # the constant channel
BEFORE = 1.0  # what the first layer writes of the token before, per unit of the embedding's scale
COPIED = 4.0  # what the second layer writes of the token to copy
LOOK_BACK = 8.0  # by how much the score of the place before exceeds those beside it
MATCH = 20.0  # score of two equal tokens
FINAL_GAIN = 0.05  # of the last norm: how sure the copy is at first
FAST, SLOW = 0.05, 0.004  # radians per position: channels that tell neighbours apart, channels that hardly turn


def seed_induction(model: LlamaForCausalLM, seed: int = 0) -> None:
    """Write the circuit into layers 0 and 1 of a fresh model; what leaves all other layers begins at zero.

    The model's key heads together must hold at least half of its channels, and its rotary base be large enough
    (100 000) that a part of each head hardly turns.
    """
    config = model.config
    half = config.hidden_size // 2
    assert config.num_key_value_heads * config.head_dim >= half, "the key heads cannot carry a token"
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        table = model.model.embed_tokens.weight
        table.zero_()
        table[:, :half] = TOKEN * torch.randn(len(table), half, generator=generator)
        table[:, -1] = CONSTANT
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.norm.weight.fill_(FINAL_GAIN)
        frequencies = model.model.rotary_emb.inv_freq
        _look_back(model, half, frequencies)
        _match(model, half, frequencies, generator)


def _look_back(model: LlamaForCausalLM, half: int, frequencies: Tensor) -> None:
    """Layer 0: the first query head of each group reads the place before; its token goes to the second half."""
    config, attention = model.config, model.model.layers[0].self_attn
    size, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    scale = math.sqrt((half * TOKEN**2 + CONSTANT**2) / config.hidden_size)  # of the rows that enter
    fast = (frequencies > FAST).float()
    gap = float((fast * (1 - torch.cos(frequencies))).sum())
    gain = math.sqrt(LOOK_BACK * math.sqrt(size) / gap) * scale / CONSTANT
    for head in range(config.num_key_value_heads):
        query, key, value = _heads(model, 0, head)
        for block in (query, key, value):
            block.zero_()
        query[: size // 2, -1] = gain * fast * torch.cos(frequencies)
        query[size // 2 :, -1] = -gain * fast * torch.sin(frequencies)
        key[: size // 2, -1] = gain * fast
        for channel in range(size):
            token = head * size + channel
            if token < half - 1:
                value[channel, token] = 1.0
                attention.o_proj.weight[half + token, head * group * size + channel] = BEFORE * scale / TOKEN


def _match(model: LlamaForCausalLM, half: int, frequencies: Tensor, generator: torch.Generator) -> None:
    """Layer 1: the first query head of each group finds where the present token stood before, and copies."""
    config, attention = model.config, model.model.layers[1].self_attn
    size, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    scale = math.sqrt((half * TOKEN**2 + CONSTANT**2 + (half - 1) * BEFORE**2) / config.hidden_size)
    slow = (frequencies < SLOW).nonzero()[:, 0]
    channels = torch.cat([slow, slow + size // 2])
    gain = math.sqrt(MATCH * math.sqrt(size) / len(channels) / (TOKEN * BEFORE / scale**2))
    for head in range(config.num_key_value_heads):
        query, key, value = _heads(model, 1, head)
        for block in (query, key, value):
            block.zero_()
        mixed = torch.linalg.qr(torch.randn(half - 1, len(channels), generator=generator))[0].T
        query[channels, : half - 1] = gain * mixed
        key[channels, half:-1] = gain * mixed
        for channel in range(size):
            token = head * size + channel
            if token < half:
                value[channel, token] = 1.0
                attention.o_proj.weight[token, head * group * size + channel] = COPIED


def _heads(model: LlamaForCausalLM, layer: int, head: int) -> tuple[Tensor, Tensor, Tensor]:
    """The weights of key head `head` and of the first query head that shares it: three views [size, C]."""
    config, attention = model.config, model.model.layers[layer].self_attn
    size, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    query = attention.q_proj.weight[head * group * size :][:size]
    key = attention.k_proj.weight[head * size :][:size]
    value = attention.v_proj.weight[head * size :][:size]
    return query, key, value
