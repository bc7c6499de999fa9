"""Masked-diffusion checkpoints: what they are, and how their weights reach the networks that run here.

Such a model fills positions that hold its mask token. Inside it is a Llama-shaped network whose queries see more than
what stands before them; what has to be known besides is in `Masking`. A checkpoint is recognised by its config.json
and mapped by the names of its weights; code that comes with it is never run.

Layouts: LLaDA (arXiv 2502.09992), Dream (arXiv 2508.15487), SDAR (arXiv 2510.06303), Fast-dLLM v2 (arXiv 2509.26328),
and this package's own: any causal checkpoint whose config.json says
`"stretto_diffusion": {"mask_token_id": …, "block": null or N, "shift": false or true}`. That key also completes a
published config.json that leaves out one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, Qwen2Config, Qwen3Config
from transformers.configuration_utils import PretrainedConfig

from ..errors import ModelError
from .around import Around
from .cache import Cache
from .contract import Ability, Evaluation, Model, Want
from .window import Window

OWN = "stretto_diffusion"  # the key of this package's own layout


@dataclass(frozen=True, slots=True)
class Masking:
    """What tells a masked-diffusion model from a causal one."""

    mask: int  # the token of a position that is still open
    shift: bool = False  # the row at position p speaks of p + 1, and row 0 of 0 as well; else each of its own
    block: int | None = None  # a position sees all up to the end of its block of so many; None: everything

    def source(self, position: int) -> int:
        """The row that speaks of a position."""
        return max(position - 1, 0) if self.shift else position


class MaskedModel(Around):
    """A network together with its masking; the mask token is never proposed (its logit is −inf).

    Windows must say who sees whom (`Window.visible`, `Window.everyone`); logits come out row by row, before any shift.
    """

    def __init__(self, inner: Model, masking: Masking) -> None:
        if Ability.TREE not in inner.abilities:
            raise ModelError(f"{inner.name} takes no visibility of ours", hint="use a network that attends to windows")
        if not 0 <= masking.mask < inner.vocabulary:
            raise ModelError(
                f"the mask token {masking.mask} is outside of the vocabulary of {inner.vocabulary}",
                hint="config.json and weights belong to different models",
            )
        super().__init__(inner)
        self.masking = masking

    @torch.inference_mode()
    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        """See `Model.evaluate`."""
        found = super().evaluate(window, cache, want)
        for logits in (found.logits, *found.readout.values()):
            if logits is not None:
                logits[..., self.masking.mask] = -torch.inf
        return found

    def read_out(self, hidden: Tensor) -> Tensor:
        """See `Model.read_out`; the mask token has no logit here either."""
        logits = super().read_out(hidden)
        logits[..., self.masking.mask] = -torch.inf
        return logits


def masking_of(model: Model) -> Masking | None:
    """The masking of a masked-diffusion model; None for a model that continues text."""
    masking: Masking | None = getattr(model, "masking", None)
    return masking


# -- checkpoints ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """How a checkpoint is read."""

    masking: Masking
    config: PretrainedConfig | None = None  # of the transformers module that holds the weights; None: its own
    names: Mapping[str, str] = field(default_factory=dict)  # pattern of a weight's name -> the module's name


LLADA_NAMES = {
    r"^model\.transformer\.wte\.": "model.embed_tokens.",
    r"^model\.transformer\.ln_f\.": "model.norm.",
    r"^model\.transformer\.ff_out\.": "lm_head.",
    r"^model\.transformer\.blocks\.(\d+)\.attn_norm\.": r"model.layers.\1.input_layernorm.",
    r"^model\.transformer\.blocks\.(\d+)\.ff_norm\.": r"model.layers.\1.post_attention_layernorm.",
    r"^model\.transformer\.blocks\.(\d+)\.q_proj\.": r"model.layers.\1.self_attn.q_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.k_proj\.": r"model.layers.\1.self_attn.k_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.v_proj\.": r"model.layers.\1.self_attn.v_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.attn_out\.": r"model.layers.\1.self_attn.o_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.ff_proj\.": r"model.layers.\1.mlp.gate_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.up_proj\.": r"model.layers.\1.mlp.up_proj.",
    r"^model\.transformer\.blocks\.(\d+)\.ff_out\.": r"model.layers.\1.mlp.down_proj.",
}
LLADA_SHAPE = {  # what a Llama has; a config that says otherwise is another network
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "alibi": False,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "include_bias": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "clip_qkv": None,
}
UNMAPPED = {  # model types of masked-diffusion checkpoints whose network nothing here has
    "llada2_moe": "a mixture of experts with a layout of its own",
    "lladamoe": "a mixture of experts with a layout of its own",
    "llada_moe": "a mixture of experts with a layout of its own",
    "bd3lm": "a transformer with normalisation by the time of the noise",
    "mdlm": "a transformer with normalisation by the time of the noise",
}


def recognise(content: Mapping[str, Any], where: str) -> Layout | None:
    """How to read the checkpoint with this config.json; None where it is no masked-diffusion model.

    Raises ModelError where it is one that cannot be driven, or where its config.json leaves something out.
    """
    kind = str(content.get("model_type"))
    if kind in UNMAPPED:
        raise ModelError(f"{where} holds {UNMAPPED[kind]}", hint="use a LLaDA, Dream, SDAR or Fast-dLLM v2 checkpoint")
    if kind in LAYOUTS:
        return LAYOUTS[kind](content, where)
    if OWN in content:
        return Layout(_masking(content, where, shift=False, block=None))
    return None


def _llada(content: Mapping[str, Any], where: str) -> Layout:
    for key, expected in LLADA_SHAPE.items():
        if content.get(key, expected) != expected:
            raise ModelError(
                f"{where}: a LLaDA with {key}={content[key]!r} is not Llama-shaped", hint=f"{key}={expected!r} is known"
            )
    try:
        config = LlamaConfig(
            vocab_size=content.get("embedding_size") or content["vocab_size"],
            hidden_size=content["d_model"],
            num_hidden_layers=content["n_layers"],
            num_attention_heads=content["n_heads"],
            num_key_value_heads=content.get("n_kv_heads") or content["n_heads"],
            intermediate_size=content["mlp_hidden_size"],
            max_position_embeddings=content["max_sequence_length"],
            rms_norm_eps=content.get("rms_norm_eps", 1e-5),
            rope_parameters={"rope_type": "default", "rope_theta": content.get("rope_theta", 10000.0)},
            attention_bias=bool(content.get("include_qkv_bias")),
            tie_word_embeddings=bool(content.get("weight_tying")),
            eos_token_id=content.get("eos_token_id"),
            bos_token_id=content.get("bos_token_id"),
            pad_token_id=content.get("pad_token_id"),
        )
    except Exception as error:  # a key is missing, or the config class raises over a field of a wrong file
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{where}: its LLaDA config lacks or misstates {reason}", hint="is it complete?") from error
    if config.attention_bias:
        raise ModelError(f"{where}: a LLaDA with include_qkv_bias=True", hint="only include_qkv_bias=False is known")
    return Layout(_masking(content, where, shift=False, block=None), config, LLADA_NAMES)


def _as(base: type[PretrainedConfig], *, shift: bool, block: str | None) -> Callable[[Mapping[str, Any], str], Layout]:
    """A layout with the weight names and config keys of a known family; `block` names the key of the block size."""

    def read(content: Mapping[str, Any], where: str) -> Layout:
        if content.get("use_sliding_window"):
            raise ModelError(f"{where} has sliding layers", hint="a masked model must see its whole canvas")
        kept = {key: value for key, value in content.items() if key not in ("auto_map", "architectures", "model_type")}
        try:
            config = base.from_dict(kept)
        except Exception as error:  # a config class may raise anything over the fields of a wrong file
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(f"{where}: its config.json misstates {reason}", hint="is it complete?") from error
        given = None if block is None else content.get(block) or MISSING
        return Layout(_masking(content, where, shift=shift, block=given), config)

    return read


MISSING = -1  # a block size that config.json should name and does not


def _masking(content: Mapping[str, Any], where: str, *, shift: bool, block: Any) -> Masking:
    """What config.json says, its own key before the layout's."""
    own = content.get(OWN) or {}
    if not isinstance(own, Mapping) or not set(own) <= {"mask_token_id", "block", "shift"}:
        raise ModelError(f'{where}: "{OWN}" is misspelt', hint='{"mask_token_id": …, "block": null, "shift": false}')
    mask = own.get("mask_token_id", content.get("mask_token_id"))
    block = own.get("block", block)
    shift = own.get("shift", shift)
    if not _whole(mask, 0):
        raise ModelError(f"{where} names no mask token", hint=f'add "{OWN}": {{"mask_token_id": …}} to its config.json')
    if block is not None and not _whole(block, 1):
        raise ModelError(f"{where} names no block size", hint=f'add "{OWN}": {{"block": …}} to its config.json')
    if not isinstance(shift, bool):
        raise ModelError(f"{where}: shift is {shift!r}", hint="true or false")
    return Masking(mask, shift, block)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


LAYOUTS: dict[str, Callable[[Mapping[str, Any], str], Layout]] = {  # by the model_type in config.json
    "llada": _llada,
    "Dream": _as(Qwen2Config, shift=True, block=None),
    "sdar": _as(Qwen3Config, shift=False, block="block_size"),
    "Fast_dLLM_Qwen": _as(Qwen2Config, shift=True, block="bd_size"),
}
