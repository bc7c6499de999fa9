"""A folder, a model of the zoo, or a hub name -> model, tokenizer, end tokens.

Whatever can be checked without reading weights is checked first, and each mistake is one typed error.
Code that comes with a checkpoint is never run.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import PretrainedConfig
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from ..aliases import FILES
from ..errors import InvalidRequest, ModelError, Unsupported
from ..values import checked, shown
from .contract import Model
from .generation_config import Asked, asked, end_tokens
from .kernel_choice import Wish
from .masked import Layout, MaskedModel, recognise
from .published import Convert

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}  # what others call them
LONG_TEXT = "sequence-length-is-longer-than-the-specified-maximum"  # a warning of no use: lengths are checked here
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
HUB_FILES = ["*.json", "model*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken"]
TIKTOKEN = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")  # how such a file begins: a token in base 64, and its rank
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint, ready to decode."""

    model: Model
    tokenizer: PreTrainedTokenizerBase | None  # None where the folder has none: prompts must be token ids
    end_tokens: frozenset[int]
    config: PretrainedConfig
    slow_because: str = ""  # why the fast path was not taken; empty where it was
    asked: Asked = field(default_factory=Asked)  # by its generation_config.json


@checked
def load(
    name: str | Path,
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    weights: str = "auto",
    exact: str = "tokens",
    reproducible: bool = False,
    fast: bool = True,
) -> Loaded:
    """Load a local folder, `zoo/NAME`, or a model of the hub (the only case that touches the network).

    `dtype` is float32, bfloat16, float16 or auto: float32 on the CPU, the checkpoint's own elsewhere.
    `device` is a torch device or auto: CUDA where there is one. `weights` is auto (as `dtype` says) or int8,
    which only the fast path has. `exact` is tokens (up to rounding: see `Generation.guarantee`) or bits: windows of any
    size, trees and batches give each row the same bits; the fast path has it, on the CPU. `reproducible` chooses the
    kernels by rule, where else the clock does: two loads compute alike. `fast=False` drives the module itself even
    where the fast path applies.
    Raises ModelError for the checkpoint, InvalidRequest for a setting, Unsupported for int8 or bits without fast path.
    """
    if weights not in ("auto", "int8"):
        raise InvalidRequest(f"unknown weights {shown(weights)}", hint="choose auto or int8")
    if exact not in ("tokens", "bits"):
        raise InvalidRequest(f"unknown exactness {shown(exact)}", hint="choose tokens or bits")
    where = _device(str(device))
    if exact == "bits" and where.type != "cpu":
        raise Unsupported("exact bits are for the CPU", hint="use device='cpu', or exact='tokens'")
    what = _dtype(str(dtype).removeprefix("torch."), where)
    if weights == "int8" and (where.type != "cpu" or what is not torch.float32):
        raise Unsupported("int8 weights are for float32 on the CPU", hint="use device='cpu' and dtype='float32'")
    folder = find(name)
    with _quiet():
        layout = _layout(folder)
        generation = _generation(folder)
        module = load_module(folder, layout, what, where)
        tokenizer = _tokenizer(folder)
        wish = Wish(int8=weights == "int8", bits=exact == "bits", settled=reproducible)
        model, slow_because = _model(module, str(name), wish, fast)
    ends = _end_tokens(folder, generation, module.config, tokenizer, model.vocabulary)
    if layout is not None:
        model = MaskedModel(model, layout.masking)
    return Loaded(model, tokenizer, ends, module.config, slow_because, asked(generation, model.max_positions, ends))


@checked
def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a checkpoint, without its weights; None where the checkpoint has none."""
    folder = find(name)
    with _quiet():
        return _tokenizer(folder)


def find(name: str | Path) -> Path:
    """The folder of a checkpoint: as named, in the zoo, or fetched from the hub."""
    text = str(name)
    try:
        folder = Path(name).expanduser()
        if folder.is_dir():
            return folder
    except (OSError, RuntimeError) as error:  # a name too long for a file; the home of a user who is not there
        raise ModelError(f"{shown(text)} is no folder", hint="name one that is there, or zoo/causal") from error
    if text.startswith("zoo/"):
        from ..zoo import path

        return path(text.removeprefix("zoo/"))
    what = "name the folder that holds config.json and model.safetensors"
    if folder.suffix.lower() in FILES or folder.is_file():
        kind = "a file" if folder.is_file() else "no folder"
        raise ModelError(f"{text} is {kind}", hint=FILES.get(folder.suffix.lower(), what))
    if isinstance(name, Path) or not HUB_NAME.fullmatch(text):
        raise ModelError(
            f"there is no folder {name}", hint="name a folder that holds config.json and model.safetensors"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(text, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{text} is neither a folder nor a model that the hub hands out: {reason}",
            hint="check the spelling, or give the path of a local folder, or zoo/causal",
        ) from error


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


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is not readable JSON: {error}", hint="copy the file again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object", hint="copy the file again")
    return content


def _content(folder: Path) -> dict[str, Any]:
    """What config.json says."""
    file = folder / "config.json"
    if not file.exists():
        raise ModelError(f"{folder} has no config.json", hint="name the folder that holds the checkpoint itself")
    return _read_json(file)


def _layout(folder: Path) -> Layout | None:
    """How a masked-diffusion checkpoint is read; None for one that continues text."""
    return recognise(_content(folder), str(folder))


def _config(folder: Path) -> PretrainedConfig:
    file = folder / "config.json"
    content = _content(folder)
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
    if config.is_encoder_decoder:
        raise ModelError(f"{folder} holds a {kind!r} model, which has an encoder", hint="use a decoder-only model")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"{folder} holds a {kind!r} model, which does not continue text", hint="use a causal language model"
        )
    return config


def _weight_files(folder: Path) -> list[Path]:
    """All weight files; they are there and as long as their headers say."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.exists():
        files = [single]
    elif index.exists():
        shards = _read_json(index).get("weight_map")
        if not isinstance(shards, dict):
            raise ModelError(f"{index} has no weight_map", hint="copy the file again")
        files = sorted({folder / shard for shard in shards.values()})
    else:
        other = sorted(file.name for file in folder.glob("*.bin"))
        found = f", only {other[0]}" if other else ""
        raise ModelError(
            f"{folder} has no model.safetensors{found}",
            hint="save it with save_pretrained of transformers, which writes safetensors",
        )
    for file in files:
        _check_safetensors(file)
    return files


def _check_safetensors(file: Path) -> None:
    if not file.exists():
        raise ModelError(f"{file} is missing", hint="copy all shards that model.safetensors.index.json names")
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ValueError(f"its header cannot be {length} bytes long")
            header = json.loads(stream.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"{file} is not a safetensors file: {error}", hint="copy it again") from error
    if size != expected:
        raise ModelError(f"{file} has {size:,} bytes instead of {expected:,}", hint="copy it again; it was cut off")


# -- the work -----------------------------------------------------------------------------------


def load_module(
    folder: Path, layout: Layout | None, dtype: torch.dtype | Literal["auto"], device: torch.device
) -> PreTrainedModel:
    """transformers' module with the weights of a checkpoint, read as its layout says.

    Raises ModelError where a weight is missing, has another shape or belongs nowhere.
    """
    config = _config(folder) if layout is None or layout.config is None else layout.config
    files = _weight_files(folder)
    settings: dict[str, Any] = {
        "config": config,
        "dtype": dtype,
        "key_mapping": dict(layout.names) if layout is not None and layout.names else None,
        "local_files_only": True,
        "trust_remote_code": False,
        "ignore_mismatched_sizes": True,  # they are told below, by name
        "output_loading_info": True,
        "generation_config": GenerationConfig(),  # the checkpoint's own is read elsewhere
    }
    try:
        if layout is None or layout.convert is None:
            module, info = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **settings)
        else:
            settings["state_dict"] = _converted(files, layout.convert)
            module, info = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].from_pretrained(None, **settings)
    except Exception as error:  # transformers raises many kinds over tensors that do not fit
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"the weights in {folder} do not load: {reason}", hint="do they belong to its config.json?"
        ) from error
    _check_loaded(folder, info)
    ready: PreTrainedModel = module.eval().requires_grad_(False).to(device)
    return ready


def _check_loaded(folder: Path, info: Mapping[str, Any]) -> None:
    """Every weight found its place, and every place its weight."""
    for key, what in (
        ("missing_keys", "lack"),
        ("mismatched_keys", "have the wrong shape in"),
        ("unexpected_keys", "hold"),
    ):
        wrong = sorted(each if isinstance(each, str) else each[0] for each in info[key])
        if wrong:
            raise ModelError(
                f"the weights in {folder} {what} {wrong[0]}" + (f" and {len(wrong) - 1} more" if wrong[1:] else ""),
                hint="config.json and weights belong to different models, or a shard is missing",
            )


def _converted(files: list[Path], convert: Convert) -> dict[str, Tensor]:
    """All weights after conversion. They stay in the mapped files until they are used."""
    found: dict[str, Tensor] = {}
    for file in files:
        for name, weight in load_file(file).items():
            found |= convert(name, weight)
    return found


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    if not any((folder / file).exists() for file in TOKENIZER_FILES):
        return None
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the Rust library raises bare Exceptions
        _check_packed_tokenizer(folder, error)
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"the tokenizer in {folder} does not load: {reason}", hint="copy its files again") from error
    tokenizer.deprecation_warnings[LONG_TEXT] = True
    return tokenizer


def _generation(folder: Path) -> dict[str, Any]:
    """What generation_config.json says; nothing where there is none."""
    file = folder / "generation_config.json"
    return _read_json(file) if file.exists() else {}


def _check_packed_tokenizer(folder: Path, error: Exception) -> None:
    """Say what is really missing where a folder has its tokenizer in one file that only other packages read."""
    file = next((folder / name for name in ("tokenizer.model", "spiece.model") if (folder / name).exists()), None)
    if file is None or (folder / "tokenizer.json").exists():
        return
    begun = file.read_bytes()[:64]
    needed = ("tiktoken",) if TIKTOKEN.match(begun) else ("sentencepiece", "protobuf")
    missing = [name for name in needed if find_spec({"protobuf": "google"}.get(name, name)) is None]
    if missing:
        raise ModelError(
            f"{folder} has no tokenizer.json, only {file.name}, which is read by {' and '.join(needed)}",
            hint=f"pip install {' '.join(missing)}, or copy the model's tokenizer.json beside it",
        ) from error


def _end_tokens(
    folder: Path,
    generation: Mapping[str, Any],
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    vocabulary: int,
) -> frozenset[int]:
    """All that generation_config.json, config.json and the tokenizer name; else those of the configuration's kind."""
    content = _content(folder)
    inner = content.get("text_config")
    named = [
        ("generation_config.json", generation.get("eos_token_id")),
        ("config.json", content.get("eos_token_id")),
        ("config.json", inner.get("eos_token_id") if isinstance(inner, dict) else None),
    ]
    own = getattr(tokenizer, "eos_token_id", None)
    if own is not None and own < vocabulary:  # one that the model cannot choose ends nothing
        named.append(("the tokenizer", own))
    usual = getattr(config, "eos_token_id", None)  # of the configuration's class, where no file says any
    if all(value is None for _, value in named) and isinstance(usual, int) and usual < vocabulary:
        named = [("the configuration", usual)]
    return end_tokens(named, vocabulary)


def _model(module: PreTrainedModel, name: str, wish: Wish, fast: bool) -> tuple[Model, str]:
    """The fast path where it applies, else the module driven layer by layer, and why."""
    reasons = [] if fast else ["it was not asked for"]
    if fast:
        from .bitwise import Bitwise
        from .lean import Lean, lean_or_none

        lean = lean_or_none(module, reasons.append, wish, Bitwise if wish.bits else Lean)
        if lean is not None:
            return lean, ""
    reason = "; ".join(reasons)
    if wish.bits:
        raise Unsupported(f"{name} has no fast path, so no exact bits: {reason}", hint="use exact='tokens'")
    if wish.int8:
        raise Unsupported(f"there is no fast path for {name} with int8 weights: {reason}", hint="use weights='auto'")
    from .network import Network

    return Network(module, name), reason


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice on the console while loading."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
