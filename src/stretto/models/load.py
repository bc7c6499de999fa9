"""A folder, a GGUF file, a model of the zoo, or a hub name -> model, tokenizer, end tokens.

Whatever can be checked without reading weights is checked first, and each mistake is one typed error.
Code that comes with a checkpoint is never run. transformers is imported where its modules are needed: not for
Llama-shaped checkpoints, which are read from their files (folder.py: plain.py, tokenizer.py; gguf/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from ..errors import InvalidRequest, Unsupported
from ..values import checked, shown
from .adapter import Adapted, Adapter, adapter_in
from .checkpoint import find, find_folder
from .contract import Model
from .folder import Folder
from .generation_config import Asked, asked, end_tokens
from .kernel_choice import CODED, Wish
from .masked import MaskedModel, recognise
from .plain import DTYPES
from .source import Source
from .tried import Record

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .gguf.checkpoint import Checkpoint
    from .patch_encoder import PatchSight
    from .sight import Sight
    from .tokenizer import Tokenizer

ENCODER = "encoder.safetensors"  # beside a checkpoint's own weights
FORMS = ("auto", "float32", *CODED)  # of weights
SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}  # what others call them


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint, ready to decode."""

    model: Model
    tokenizer: Tokenizer | None  # None where there is none: prompts must be token ids
    end_tokens: frozenset[int]
    slow_because: str = ""  # why the fast path was not taken; empty where it was
    asked: Asked = field(default_factory=Asked)  # by its generation_config.json
    sight: Sight | PatchSight | None = None  # what of the checkpoint sees pictures

    @property
    def image_token(self) -> int | None:
        """The token that stands where pictures are."""
        return None if self.sight is None else self.sight.image_token


@checked
def load(
    name: str | Path,
    *,
    adapter: str | Path | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    weights: str = "auto",
    exact: str = "tokens",
    reproducible: bool = False,
    fast: bool = True,
) -> Loaded:
    """Load a local folder or GGUF file, `zoo/NAME`, or a model of the hub (the only case that touches the network).

    `adapter` is a folder or hub name of low-rank weights (LoRA) that PEFT saved; they are merged into the checkpoint's.
    One that stands beside a checkpoint is merged likewise, and one by itself into the checkpoint that it names.
    `dtype` is float32, bfloat16, float16 or auto: float32 on the CPU, the checkpoint's own elsewhere.
    `device` is a torch device or auto: CUDA where there is one. `weights` is auto (as the checkpoint has them: in
    floats as `dtype` says, or in blocks), float32 (blocks too), int8 or int4, which only the fast path has: matrices in
    blocks of 32, inputs rounded to eight bits in groups of as many. `exact` is tokens (up to rounding: see
    `Generation.guarantee`) or bits: windows of any size, trees and batches give each row the same bits; the fast path
    has it, on the CPU. `reproducible` chooses the kernels by rule, where else the clock does: two loads compute alike.
    `fast=False` drives the module itself even where the fast path applies.
    Raises ModelError for the checkpoint, InvalidRequest for a setting, Unsupported for int8 or bits without fast path.
    """
    if weights not in FORMS:
        raise InvalidRequest(f"unknown weights {shown(weights)}", hint=f"choose {', '.join(FORMS)}")
    if exact not in ("tokens", "bits"):
        raise InvalidRequest(f"unknown exactness {shown(exact)}", hint="choose tokens or bits")
    where = _device(str(device))
    if exact == "bits" and where.type != "cpu":
        raise Unsupported("exact bits are for the CPU", hint="use device='cpu', or exact='tokens'")
    what = _dtype(str(dtype).removeprefix("torch."), where)
    if weights in CODED and (where.type != "cpu" or what is not torch.float32):
        raise Unsupported(f"{weights} weights are for float32 on the CPU", hint="use device='cpu' and dtype='float32'")
    checkpoint = opened(name, adapter)
    content, generation = checkpoint.content, checkpoint.generation
    layout = recognise(content, str(name))
    wish = Wish(form="" if weights == "auto" else weights, bits=exact == "bits", settled=reproducible)
    plain = checkpoint.plain(layout, what, where, blocks=wish.form != "float32") if fast else None
    model = None
    if plain is not None:
        known = None if isinstance(checkpoint, Adapted) else Record(checkpoint.files, wish, what, where)
        model = _fast(plain, wish) if known is None else _fast_once_tried(plain, known, wish)
    slow_because, usual = "", None
    sight: Sight | PatchSight | None = None
    if model is None:
        from .quiet import quiet

        with quiet():
            module = checkpoint.stock(layout, what, where)
            if (seeing := _sight(module)) is not None:
                module, sight = seeing.text, seeing
        if module.config.is_encoder_decoder:
            model, generation = _encoder_decoder(module, str(name), wish, content, generation)
        else:
            model, slow_because = _model(module, str(name), wish, fast)
        usual = getattr(module.config, "eos_token_id", None)
    sight = sight or _small_sight(find(name))
    tokenizer = checkpoint.tokenizer()
    if isinstance(checkpoint, Adapted):
        model.name = f"{model.name} with {checkpoint.adapter.folder}"
    ends = _end_tokens(content, generation, usual, tokenizer, model.vocabulary)
    if layout is not None:
        model = MaskedModel(model, layout.masking)
    return Loaded(model, tokenizer, ends, slow_because, asked(generation, model.max_positions, ends), sight)


def opened(name: str | Path, adapter: str | Path | None = None) -> Folder | Checkpoint | Adapted:
    """A checkpoint whose weights are not read yet; with an adapter: the named one, or the one in its folder.

    Raises ModelError, Unsupported for packed weights and adapters of unknown kinds, InvalidRequest for two adapters.
    """
    place = find(name)
    found = adapter_in(place) if place.is_dir() else None
    if found is not None and adapter is not None:
        hint = "name the folder of the checkpoint by itself, and one adapter"
        raise InvalidRequest(f"{name} has an adapter of its own, beside {adapter}", hint=hint)
    if found is not None and not (place / "config.json").exists():
        place = find(found.base)
    if adapter is not None:
        found = Adapter(find_folder(adapter))
    held = _held(place)
    return held if found is None else Adapted(held, found)


def _held(place: Path) -> Folder | Checkpoint:
    """A checkpoint in a folder, or in a file."""
    if place.is_dir():
        return Folder(place)
    from .gguf.checkpoint import Checkpoint

    return Checkpoint(place)


# -- checks before the work ---------------------------------------------------------------------


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # torch asserts that it was built with CUDA
        raise InvalidRequest(f"there is no device {shown(name)} here", hint="try device='cpu'") from error
    if device.type == "meta":
        raise InvalidRequest("the device 'meta' holds no numbers", hint="try device='cpu'")
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype | Literal["auto"]:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    name = SHORT.get(name, name)
    if name not in DTYPES:
        raise InvalidRequest(f"unknown dtype {shown(name)}", hint=f"choose auto, {', '.join(DTYPES)}")
    return DTYPES[name]


# -- the work -----------------------------------------------------------------------------------


def _fast(module: Source, wish: Wish, why_not: Callable[[str], None] = lambda reason: None) -> Model | None:
    """The fast path; None where it does not apply, or does not agree with the module."""
    from .bitwise import Bitwise
    from .fast import lean_or_none
    from .lean import Lean

    return lean_or_none(module, why_not, wish, Bitwise if wish.bits else Lean)


def _fast_once_tried(module: Source, record: Record, wish: Wish) -> Model | None:
    """The same of a checkpoint that is known by its files: what was tried here before is taken at once."""
    from .drawn.network import Drawn

    model = _fast(module, replace(wish, tried=record.there))
    if isinstance(model, Drawn):
        record.give()
    return model


def _model(module: PreTrainedModel, name: str, wish: Wish, fast: bool) -> tuple[Model, str]:
    """The fast path where it applies, else the module driven layer by layer or run whole, and why."""
    from .quiet import quiet
    from .whole import driven

    reasons = [] if fast else ["it was not asked for"]
    with quiet():
        lean = _fast(module, wish, reasons.append) if fast else None
        if lean is not None:
            return lean, ""
        reason = "; ".join(reasons)
        if wish.bits:
            raise Unsupported(f"{name} has no fast path, so no exact bits: {reason}", hint="use exact='tokens'")
        if wish.form:
            hint = "use weights='auto'"
            raise Unsupported(f"there is no fast path for {name} with {wish.form} weights: {reason}", hint=hint)
        model, whole = driven(module, name)
        return model, f"{reason}; not layer by layer: {whole}" if whole else reason


def _encoder_decoder(
    module: PreTrainedModel, name: str, wish: Wish, content: Mapping[str, Any], generation: Mapping[str, Any]
) -> tuple[Model, Mapping[str, Any]]:
    """The model, and what else generation_config.json asks for. Raises Unsupported for what it has no fast path for."""
    from .encoder_decoder import EncoderDecoder
    from .generation_config import start_of
    from .quiet import quiet

    if wish.bits or wish.form not in ("", "float32"):
        raise Unsupported(
            f"{name} has an encoder, and no fast path", hint="leave out exact='bits', and weights in few bits"
        )
    start, rest = start_of(content, generation)
    with quiet():
        return EncoderDecoder(module, start, name), rest


def _small_sight(place: Path) -> PatchSight | None:
    """The encoder that stands beside a checkpoint; None where none does."""
    if not (place / ENCODER).is_file():
        return None
    from .patch_encoder import PatchEncoder, PatchSight

    return PatchSight(PatchEncoder.load(place))


def _sight(module: PreTrainedModel) -> Sight | None:
    """What sees in a module; None where nothing does."""
    from .sight import sight_of

    return sight_of(module)


def _end_tokens(
    content: Mapping[str, Any],
    generation: Mapping[str, Any],
    usual: Any,
    tokenizer: Tokenizer | None,
    vocabulary: int,
) -> frozenset[int]:
    """All that generation_config.json, config.json and the tokenizer name; else the usual one of its kind, if any."""
    inner = content.get("text_config")
    named = [
        ("generation_config.json", generation.get("eos_token_id")),
        ("config.json", content.get("eos_token_id")),
        ("config.json", inner.get("eos_token_id") if isinstance(inner, dict) else None),
    ]
    own = getattr(tokenizer, "eos_token_id", None)
    if own is not None and own < vocabulary:  # one that the model cannot choose ends nothing
        named.append(("the tokenizer", own))
    if all(value is None for _, value in named) and isinstance(usual, int) and usual < vocabulary:
        named = [("the configuration", usual)]
    return end_tokens(named, vocabulary)
