"""First weights with which a network copies before it has learnt anything.

Most answers of the gym copy from their question. The circuit that copies (induction, arXiv 2209.11895) takes two
layers: heads of the first write, beside each token, the two tokens before it; a head of the next looks for the place
where the *present* token and the one before it stood in these roles, and writes what stands there. Small networks find
it late and suddenly, after a plateau of thousands of steps; written into the first weights by hand, it copies nine of
ten tokens of a repeated random sequence at step 0, and training refines it from there.

The channels of the residual stream begin in three parts: the token (what the embedding writes), the token before, and
the token before that; the last channel is constant, so that a head can look back whatever stands there. Tokens that
differ only in capitals or in a leading space begin with nearly the same vector, so that a word is also found where it
stands in quotes or begins a line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

TOKEN = 1.0  # standard deviation of the embedding's entries
SPELT = 0.8  # the part of a token's variance that tells its letters; the rest: leading space, capitals, itself
CONSTANT = 4.0  # the constant channel
BEFORE = 1.0  # what the first layer writes of a token before, per unit of the embedding's scale
COPIED = 4.0  # what the second layer writes of the token to copy
LOOK_BACK = 8.0  # by how much the score of the place looked for exceeds those beside it
MATCH = 12.0  # score of two equal tokens; both roles together count twice that
FINAL_GAIN = 0.05  # of the last norm: how sure the copy is at first
FAST, SLOW = 0.05, 0.004  # radians per position: channels that tell neighbours apart, channels that hardly turn
ROLES = 3  # the token, the one before, the one before that


def seed_induction(model: LlamaForCausalLM, texts: Sequence[str], seed: int = 0) -> None:
    """Write the circuit into layers 0 and 1 of a fresh model; what leaves all other layers begins at zero.

    `texts` are the tokens' own texts, by id. The model's key heads together must hold at least a third of its channels
    and be shared by two query heads or more, and its rotary base be large enough (100 000) that a part of each head
    hardly turns.
    """
    config = model.config
    width, group = (config.hidden_size - 1) // ROLES, config.num_attention_heads // config.num_key_value_heads
    assert config.num_key_value_heads * config.head_dim >= width, "the key heads cannot carry a token"
    assert group >= ROLES - 1, "each key head needs a query head for each place before"
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        table = model.model.embed_tokens.weight
        table.zero_()
        spare = [""] * (len(table) - len(texts))  # rows that no token uses
        table[:, :width] = TOKEN * _vectors([*texts, *spare], width, generator)
        table[:, -1] = CONSTANT
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.norm.weight.fill_(FINAL_GAIN)
        _look_back(model, width)
        _match(model, width, generator)


def _vectors(texts: Sequence[str], width: int, generator: torch.Generator) -> Tensor:
    """A random vector for each token, [V, width]: most of it by its letters, a little by space, capitals, and id."""
    spellings = {text: index for index, text in enumerate(dict.fromkeys(text.strip().lower() for text in texts))}
    spelt = torch.randn(len(spellings), width, generator=generator)
    spaced, capital = torch.randn(2, width, generator=generator)
    own = torch.randn(len(texts), width, generator=generator)
    places = torch.tensor([spellings[text.strip().lower()] for text in texts])
    shapes = [[text[:1].isspace(), text.strip() != text.strip().lower()] for text in texts]
    marks = torch.tensor(shapes, dtype=torch.float32) @ torch.stack([spaced, capital]) + own
    alone = torch.tensor([not text.strip() for text in texts])  # spaces and line breaks have no letters
    vectors = math.sqrt(SPELT) * spelt[places] + math.sqrt((1 - SPELT) / 2) * marks
    return torch.where(alone[:, None], own, vectors)


def _look_back(model: LlamaForCausalLM, width: int) -> None:
    """Layer 0: the query heads of each group read one and two places back, and write what stands there."""
    config, attention = model.config, model.model.layers[0].self_attn
    frequencies = model.model.rotary_emb.inv_freq
    size, half = config.head_dim, config.head_dim // 2
    scale = math.sqrt((width * TOKEN**2 + CONSTANT**2) / config.hidden_size)  # of the rows that enter
    fast = (frequencies > FAST).float()
    gap = float((fast * (1 - torch.cos(frequencies))).sum())
    gain = math.sqrt(LOOK_BACK * math.sqrt(size) / gap) * scale / CONSTANT
    for head, carried in enumerate(_carried(model, width)):
        key, value = _key_value(model, 0, head)
        key[:half, -1] = gain * fast
        value[range(len(carried)), carried] = 1.0
        for back in range(1, ROLES):
            query, out = _query(model, 0, head, back - 1)
            query[:half, -1] = gain * fast * torch.cos(back * frequencies)
            query[half:, -1] = -gain * fast * torch.sin(back * frequencies)
            written = [back * width + channel for channel in carried]
            attention.o_proj.weight[written, range(out, out + len(carried))] = BEFORE * scale / TOKEN


def _match(model: LlamaForCausalLM, width: int, generator: torch.Generator) -> None:
    """Layer 1: the first query head of each group finds where the last two tokens stood before, and copies."""
    config, attention = model.config, model.model.layers[1].self_attn
    size, half = config.head_dim, config.head_dim // 2
    roles = [slice(role * width, (role + 1) * width) for role in range(ROLES)]
    scale = math.sqrt((width * (TOKEN**2 + (ROLES - 1) * BEFORE**2) + CONSTANT**2) / config.hidden_size)
    slow = (model.model.rotary_emb.inv_freq < SLOW).nonzero()[:, 0]
    for head, carried in enumerate(_carried(model, width)):
        key, value = _key_value(model, 1, head)
        query, out = _query(model, 1, head, 0)
        for role in range(ROLES - 1):
            turning = slow[role :: ROLES - 1]
            channels = torch.cat([turning, turning + half])
            mixed = torch.linalg.qr(torch.randn(width, len(channels), generator=generator))[0].T
            gain = math.sqrt(MATCH * math.sqrt(size) / len(channels) / (TOKEN * BEFORE / scale**2))
            query[channels, roles[role]] = gain * mixed
            key[channels, roles[role + 1]] = gain * mixed
        value[range(len(carried)), carried] = 1.0
        attention.o_proj.weight[carried, range(out, out + len(carried))] = COPIED


def _carried(model: LlamaForCausalLM, width: int) -> list[range]:
    """The token channels that each key head carries, shared out evenly."""
    heads = model.config.num_key_value_heads
    each = -(-width // heads)
    return [range(head * each, min((head + 1) * each, width)) for head in range(heads)]


def _key_value(model: LlamaForCausalLM, layer: int, head: int) -> tuple[Tensor, Tensor]:
    """The weights of key head `head`, cleared: two views [size, C]."""
    attention, size = model.model.layers[layer].self_attn, model.config.head_dim
    key, value = (part.weight[head * size :][:size] for part in (attention.k_proj, attention.v_proj))
    return key.zero_(), value.zero_()


def _query(model: LlamaForCausalLM, layer: int, head: int, place: int) -> tuple[Tensor, int]:
    """The cleared weights of query head `place` of a group [size, C], and where its output begins."""
    config, size = model.config, model.config.head_dim
    out = (head * (config.num_attention_heads // config.num_key_value_heads) + place) * size
    return model.model.layers[layer].self_attn.q_proj.weight[out : out + size].zero_(), out
