"""The tensors of a GGUF file as the weights of a network: under its names, and in its order of channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelError
from ..plain import HEAD as OUTPUT
from ..plain import TABLE as INPUT
from ..plain import Causal, Weight, filled, in_floats
from ..quantised import Quantised
from ..shape import config_of
from .configuration import HEAD, KNOWN, TABLE, TURNS
from .file import File

WHOLE = {INPUT: TABLE, "model.norm.weight": "output_norm.weight", OUTPUT: HEAD}
LAYER = {  # part of a layer -> part of a block
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GEMMA = {  # the same of networks that norm what attention and MLP give as well
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
LIFTED = ("gemma3_text",)  # model types whose norms multiply by 1 + weight; files have the sum
NEIGHBOURS = ("llama",)  # model types whose files have those channels of a head side by side that turn together


def network(file: File, content: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> Causal:
    """The network that a file holds; on the CPU and in float32 its matrices stay in their blocks.

    Raises ModelError where its tensors are not those that the network calls for.
    """
    module = _empty(file, content)
    filled(module, weights(file, content, module), dtype, device)
    divide(module.model.rotary_emb, file, content)
    return module


def floats(file: File, content: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """All weights as floats, by their names in transformers; a head that is the table is left out."""
    held = weights(file, content, _empty(file, content))
    return {name: in_floats(weight, dtype, device) for name, weight in held.items()}


def divide(rotary: nn.Module, file: File, content: Mapping[str, Any]) -> None:
    """Divide the frequencies of a rotation by what the file has for each of them, if anything."""
    each = file.tensors.get(TURNS)
    if each is None:
        return
    pairs = content["head_dim"] // 2
    if isinstance(each, Quantised) or each.shape != (pairs,):
        raise ModelError(f"{TURNS} of {file.path} is not of {pairs} numbers", hint="convert it again")
    for name, frequencies in [*vars(rotary).items(), *rotary.named_buffers()]:
        if name.endswith("inv_freq"):
            frequencies.div_(each.to(frequencies.device))


def _empty(file: File, content: Mapping[str, Any]) -> Causal:
    """The network without its numbers."""
    config = config_of(content, str(file.path))
    if config is None:
        raise ModelError(f"{file.path} holds a network of a shape that is not known", hint=KNOWN)
    with torch.device("meta"):
        return Causal(config)


def weights(file: File, content: Mapping[str, Any], module: nn.Module) -> dict[str, Weight]:
    """All weights by their names in transformers, of the shapes that a network wants; no head that is the table.

    Raises ModelError where one is missing, has another shape, or belongs nowhere.
    """
    shapes = {name: weight.shape for name, weight in module.state_dict().items()}
    if content["tie_word_embeddings"]:
        del shapes[OUTPUT]
    names = {name: _stored(name, content) for name in shapes}
    known = {TURNS} if content["model_type"] in NEIGHBOURS else set()
    for name, theirs in names.items():
        if theirs not in file.tensors:
            raise ModelError(f"{file.path} lacks {theirs}", hint="convert the checkpoint again")
        if (shape := tuple(file.tensors[theirs].shape)) != tuple(shapes[name]):
            reason = f"{theirs} of {file.path} has the shape {shape}, not {tuple(shapes[name])}"
            raise ModelError(reason, hint="its numbers of heads and channels belong to another checkpoint")
    if rest := sorted(file.tensors.keys() - set(names.values()) - known):
        more = f" and {len(rest) - 1} more" if rest[1:] else ""
        hint = "a folder of the same checkpoint may be read"
        raise ModelError(f"{file.path} holds {rest[0]}{more}, which is not known here", hint=hint)
    return {name: _ordered(name, file.tensors[theirs], content) for name, theirs in names.items()}


def _stored(name: str, content: Mapping[str, Any]) -> str:
    """What a weight of the network is called in the file."""
    if name in WHOLE:
        return WHOLE[name]
    _, _, layer, inner = name.split(".", 3)  # model.layers.N.…
    part, _, kind = inner.rpartition(".")
    names = LAYER | GEMMA if content["model_type"] in LIFTED else LAYER
    return f"blk.{layer}.{names[part]}.{kind}"


def _ordered(name: str, weight: Weight, content: Mapping[str, Any]) -> Weight:
    """A weight as the network has it: two channels that turn together lie apart, and a norm's are what is over 1."""
    part = name.split(".")[-2]
    if content["model_type"] in LIFTED and part.endswith("norm"):
        return in_floats(weight, torch.float32, torch.device("cpu")) - 1
    if content["model_type"] not in NEIGHBOURS or part not in ("q_proj", "k_proj"):
        return weight
    order = torch.arange(weight.shape[0]).view(-1, content["head_dim"] // 2, 2).transpose(1, 2).flatten()
    return weight.rows(order) if isinstance(weight, Quantised) else weight[order]
