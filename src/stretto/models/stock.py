"""transformers' own module of a checkpoint, for what is not read here (plain.py) or has no fast path.

Code that comes with a checkpoint is never run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import PretrainedConfig

from ..errors import ModelError
from .checkpoint import content_of, weight_files
from .masked import Layout
from .published import Convert
from .tensors import tensors_of


def load_module(
    folder: Path,
    layout: Layout | None,
    dtype: torch.dtype | Literal["auto"],
    device: torch.device,
    weights: Mapping[str, Tensor] | None = None,
) -> PreTrainedModel:
    """transformers' module with the weights of a checkpoint, read as its layout says; `weights`: instead of its files'.

    Raises ModelError where a weight is missing, has another shape or belongs nowhere.
    """
    config = _config(folder) if layout is None or layout.config is None else layout.config
    convert = None if layout is None else layout.convert
    files = weight_files(folder)
    settings = _settings(config, dtype)
    settings["key_mapping"] = dict(layout.names) if layout is not None and layout.names else None
    try:
        if weights is None and convert is None:
            kind = _kind(config)
            module, info = kind.from_pretrained(folder, use_safetensors=True, **settings)
        else:
            settings["state_dict"] = _converted(tensors_of(files) if weights is None else weights, convert)
            module, info = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(None, **settings)
    except Exception as error:  # transformers raises many kinds over tensors that do not fit
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"the weights in {folder} do not load: {reason}", hint="do they belong to its config.json?"
        ) from error
    _check_loaded(folder, info)
    ready: PreTrainedModel = module.eval().requires_grad_(False).to(device)
    return ready


def build(
    where: str, content: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """transformers' module of a config.json with this content, with these weights; `where` they are from."""
    config = AutoConfig.for_model(**content)
    kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    module, info = kind.from_pretrained(None, state_dict=dict(weights), **_settings(config, dtype))
    _check_loaded(where, info)
    ready: PreTrainedModel = module.eval().requires_grad_(False).to(device)
    return ready


def _settings(config: PretrainedConfig, dtype: torch.dtype | Literal["auto"]) -> dict[str, Any]:
    return {
        "config": config,
        "dtype": dtype,
        "local_files_only": True,
        "trust_remote_code": False,
        "ignore_mismatched_sizes": True,  # they are told afterwards, by name
        "output_loading_info": True,
        "generation_config": GenerationConfig(),  # the checkpoint's own is read elsewhere
    }


def _check_loaded(where: Path | str, info: Mapping[str, Any]) -> None:
    """Every weight found its place, and every place its weight."""
    for key, what in (
        ("missing_keys", "lack"),
        ("mismatched_keys", "have the wrong shape in"),
        ("unexpected_keys", "hold"),
    ):
        wrong = sorted(each if isinstance(each, str) else each[0] for each in info[key])
        if wrong:
            raise ModelError(
                f"the weights in {where} {what} {wrong[0]}" + (f" and {len(wrong) - 1} more" if wrong[1:] else ""),
                hint="config.json and weights belong to different models, or a shard is missing",
            )


def _converted(weights: Mapping[str, Tensor], convert: Convert | None) -> dict[str, Tensor]:
    """All weights after conversion, if there is one."""
    if convert is None:
        return dict(weights)
    return {name: each for stored, weight in weights.items() for name, each in convert(stored, weight).items()}


def _config(folder: Path) -> PretrainedConfig:
    file = folder / "config.json"
    content = content_of(folder)
    kind = content.get("model_type")
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a config class may raise anything over the fields of a wrong file
        if "auto_map" in content:
            raise ModelError(
                f"{folder} needs code of its own, which is never run", hint="use a checkpoint without"
            ) from error
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{file} describes no known model (model_type {kind!r}): {reason}", hint="is it complete?"
        ) from error
    vars(config).pop("quantization_config", None)  # what is packed is unpacked before (folder.py)
    if _kind(config) is None:
        raise ModelError(
            f"{folder} holds a {kind!r} model, which does not continue text",
            hint="use a causal language model, an encoder–decoder, or one of images and text",
        )
    return config


def _kind(config: PretrainedConfig) -> Any:
    """transformers' class for modules of a configuration; None where there is none that writes text."""
    if config.is_encoder_decoder:
        kinds = [
            (AutoModelForSeq2SeqLM, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING),
            (AutoModelForSpeechSeq2Seq, MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING),
        ]
    else:
        kinds = [
            (AutoModelForCausalLM, MODEL_FOR_CAUSAL_LM_MAPPING),
            (AutoModelForImageTextToText, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING),
        ]
    return next((kind for kind, known in kinds if type(config) in known), None)
