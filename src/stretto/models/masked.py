"""Masked-diffusion checkpoints: what they are, and how their weights reach the networks that run here.

Such a model fills positions that hold its mask token. Inside it is a Llama-shaped network whose queries see more than
what stands before them; what has to be known besides is in `Masking`. A checkpoint is recognised by its config.json
and mapped by the names of its weights; code that comes with it is never run.

Layouts: LLaDA, LLaDA-MoE and LLaDA 2 (published.py), Dream (arXiv 2508.15487), SDAR (arXiv 2510.06303), Fast-dLLM v2
(arXiv 2509.26328), and this package's own: any causal checkpoint whose config.json says
`"stretto_diffusion": {"mask_token_id": …, "block": null or N, "shift": false or true}`. That key also completes a
published config.json that leaves out one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError
from .around import Around
from .contract import Ability, Evaluation, Model, Want
from .published import Convert, Published, llada, llada2, llada_moe
from .window import Window

if TYPE_CHECKING:
    from torch import Tensor
    from transformers.configuration_utils import PretrainedConfig

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

    def evaluate(self, window: Window, cache: Any, want: Want = Want()) -> Evaluation:
        """See `Model.evaluate`."""
        with torch.inference_mode():
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


# -- checkpoints ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """How a checkpoint is read."""

    masking: Masking
    config: PretrainedConfig | None = None  # of the transformers module that holds the weights; None: its own
    names: Mapping[str, str] = field(default_factory=dict)  # pattern of a weight's name -> the module's name
    convert: Convert | None = None  # a stored weight -> those that it holds; comes before the names


Reader = Callable[[Mapping[str, Any], str], Layout]  # of what config.json says, and where that stands
UNMAPPED = {  # model types of masked-diffusion checkpoints whose network nothing here has
    "bd3lm": "a transformer with normalisation by the time of the noise",
    "mdlm": "a transformer with normalisation by the time of the noise",
}


def recognise(content: Mapping[str, Any], where: str) -> Layout | None:
    """How to read the checkpoint with this config.json; None where it is no masked-diffusion model.

    Raises ModelError where it is one that cannot be driven, or where its config.json leaves something out.
    """
    kind = str(content.get("model_type"))
    if kind == "llada_moe" or (kind == "llada" and "num_experts" in content):
        kind = "lladamoe"  # published under the name of the dense one
    if kind in UNMAPPED:
        raise ModelError(f"{where} holds {UNMAPPED[kind]}", hint=f"known are {', '.join(LAYOUTS)}")
    if kind in LAYOUTS:
        return LAYOUTS[kind](content, where)
    if OWN in content:
        return Layout(_masking(content, where, shift=False, block=None))
    return None


def _published(
    read: Callable[[Mapping[str, Any], str], Published], *, block: int | None = None, mask: int | None = None
) -> Reader:
    """A layout of published.py, with block size and mask token for a config.json that names none."""

    def layout(content: Mapping[str, Any], where: str) -> Layout:
        return Layout(_masking(content, where, shift=False, block=block, mask=mask), *read(content, where))

    return layout


def _as(base: str, *, shift: bool, block: str | None) -> Reader:
    """A layout with the weight names and config keys of a known family; `base` names its config class in transformers.

    `block` names the key of the block size.
    """

    def read(content: Mapping[str, Any], where: str) -> Layout:
        import transformers

        if content.get("use_sliding_window"):
            raise ModelError(f"{where} has sliding layers", hint="a masked model must see its whole canvas")
        kept = {key: value for key, value in content.items() if key not in ("auto_map", "architectures", "model_type")}
        try:
            config: PretrainedConfig = getattr(transformers, base).from_dict(kept)
        except Exception as error:  # a config class may raise anything over the fields of a wrong file
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(f"{where}: its config.json misstates {reason}", hint="is it complete?") from error
        given = None if block is None else content.get(block) or MISSING
        return Layout(_masking(content, where, shift=shift, block=given), config)

    return read


MISSING = -1  # a block size that config.json should name and does not


def _masking(content: Mapping[str, Any], where: str, *, shift: bool, block: Any, mask: int | None = None) -> Masking:
    """What config.json says, its own key before the layout's; `mask` where it names no mask token."""
    own = content.get(OWN) or {}
    if not isinstance(own, Mapping) or not set(own) <= {"mask_token_id", "block", "shift"}:
        raise ModelError(f'{where}: "{OWN}" is misspelt', hint='{"mask_token_id": …, "block": null, "shift": false}')
    named = own.get("mask_token_id", content.get("mask_token_id"))
    token: Any = mask if named is None else named
    block = own.get("block", block)
    shift = own.get("shift", shift)
    if not _whole(token, 0):
        raise ModelError(f"{where} names no mask token", hint=f'add "{OWN}": {{"mask_token_id": …}} to its config.json')
    if block is not None and not _whole(block, 1):
        raise ModelError(f"{where} names no block size", hint=f'add "{OWN}": {{"block": …}} to its config.json')
    if not isinstance(shift, bool):
        raise ModelError(f"{where}: shift is {shift!r}", hint="true or false")
    return Masking(token, shift, block)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


# Said by the sampler and the tokenizer that come with LLaDA-MoE and LLaDA 2, not by their config.json.
LING_MASK = 156895
LLADA2_BLOCK = 32
LAYOUTS: dict[str, Reader] = {  # by the model_type in config.json
    "llada": _published(llada),
    "lladamoe": _published(llada_moe, mask=LING_MASK),
    "llada2_moe": _published(llada2, mask=LING_MASK, block=LLADA2_BLOCK),
    "Dream": _as("Qwen2Config", shift=True, block=None),
    "sdar": _as("Qwen3Config", shift=False, block="block_size"),
    "sdar_moe": _as("Qwen3MoeConfig", shift=False, block="block_size"),
    "Fast_dLLM_Qwen": _as("Qwen2Config", shift=True, block="bd_size"),
}
