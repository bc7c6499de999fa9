"""Low-rank adapters (LoRA) as PEFT saves them: what they change in the weights of a network, done once, at load.

An adapter is a folder with adapter_config.json and adapter_model.safetensors. For a matrix W it holds A and B of a low
rank, and the network computes with `W + scale * B A`; with magnitudes (DoRA) each output of that is brought to a length
of its own. It may also hold whole weights that stand instead of the network's. Whatever else it asks for is refused.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ..errors import ModelError, Unsupported
from .checkpoint import read_json
from .quantised import QuantisedEmbedding, QuantisedLinear
from .source import Source
from .tensors import tensors_of
from .tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .folder import Folder
    from .gguf.checkpoint import Checkpoint
    from .masked import Layout
    from .tokenizer import Tokenizer

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."  # of all names
NAME = re.compile(
    r"(?P<owner>.+?)\.(?P<part>lora_[AB]\.weight|lora_B\.bias|lora_embedding_[AB]|lora_magnitude_vector(\.weight)?"
    r"|(base_layer\.)?(weight|bias))"
)
READ = {"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "base_model_name_or_path"}
SILENT = {  # keys of adapter_config.json that change nothing, or nothing that the names of the tensors do not say
    *("task_type", "auto_mapping", "revision", "inference_mode", "peft_version", "runtime_config", "lora_dropout"),
    *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "bias"),
    *("lora_bias", "use_dora", "fan_in_fan_out", "init_lora_weights", "qalora_group_size", "megatron_core"),
    *("megatron_config", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
}
STARTS = (None, True, False, "gaussian", "eva", "orthogonal")  # how A and B began; others change the network as well
MERGE = "merge it into its network with PEFT (merge_and_unload), and name the folder that this saves"


class Adapter:
    """An adapter whose weights are not read yet. Raises ModelError where it is broken, Unsupported for other kinds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._said = read_json(folder / CONFIG)
        kind = self._said.get("peft_type")
        if kind != "LORA":
            raise Unsupported(f"{folder} is an adapter of the type {kind}, and LORA is known alone", hint=MERGE)
        more = sorted(key for key in self._said.keys() - READ - SILENT if self._said[key])
        if more:
            raise Unsupported(f"the adapter {folder} has {more[0]}, which is not known here", hint=MERGE)
        start = self._said.get("init_lora_weights")
        if start not in STARTS:
            raise Unsupported(f"the adapter {folder} began with {start}, which changes its network too", hint=MERGE)
        if not (folder / WEIGHTS).is_file():
            found = f", only {PICKLED}" if (folder / PICKLED).is_file() else ""
            hint = f"save it again with PEFT, which writes it, or take {CONFIG} away where it was merged already"
            raise ModelError(f"{folder} has no {WEIGHTS}{found}", hint=hint)

    @property
    def base(self) -> str:
        """The checkpoint that it was made for. Raises ModelError where it names none."""
        named = self._said.get("base_model_name_or_path")
        if not isinstance(named, str) or not named:
            raise ModelError(f"{self.folder / CONFIG} names no checkpoint", hint="load that, with adapter=FOLDER")
        return named

    def merge(self, module: Source) -> None:
        """Change the weights of a network; matrices in blocks that it changes become floats.

        A table that is the head as well is changed in that one place alone that the adapter names, as in its training.
        Raises ModelError for what fits no place of the network.
        """
        changes = self._changes()
        with torch.no_grad():
            for owner, parts in changes.items():
                try:
                    part = _in_floats(module, owner)
                    self._change(owner, part, parts)
                except (AttributeError, RuntimeError) as error:  # no such part, or numbers that do not fit
                    reason = " ".join(str(error).split())
                    raise self._unfit(f"does not fit at {owner}: {reason}") from error

    def _changes(self) -> dict[str, dict[str, Tensor]]:
        """All tensors, by the part of the network that they belong to and what they are there."""
        changes: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors_of([self.folder / WEIGHTS]).items():
            found = NAME.fullmatch(name.removeprefix(PREFIX))
            if found is None or not tensor.is_floating_point():
                raise Unsupported(f"the adapter {self.folder} has {name}, which is not known here", hint=MERGE)
            part = found["part"].removesuffix(".weight") if "lora" in found["part"] else found["part"]
            changes[found["owner"]][part.removeprefix("base_layer.")] = tensor
        if not changes:
            raise self._unfit("holds nothing")
        return changes

    def _change(self, owner: str, part: Any, parts: Mapping[str, Tensor]) -> None:
        """One part of the network: its whole weight and bias first, then what is added to them."""
        for name in ("weight", "bias"):
            if name in parts:
                held = getattr(part, name)
                if held is None or held.shape != parts[name].shape:
                    raise RuntimeError(f"a {name} of shape {tuple(parts[name].shape)}")
                _put(part, name, parts[name])
        if not any(name.startswith("lora") for name in parts):
            return
        embedding = "lora_embedding_A" in parts
        below, above = (parts.get(f"lora_{'embedding_' if embedding else ''}{side}") for side in "AB")
        if below is None or above is None:
            raise RuntimeError("A without B, or B without A")
        scale = self._scale(owner, len(below))
        turned = embedding or hasattr(part, "nf")  # inputs [I, O], as in GPT-2
        delta = scale * (above.float() @ below.float())
        delta = delta.T if turned else delta
        if delta.shape != part.weight.shape:
            raise RuntimeError(f"a product of shape {tuple(delta.shape)}")
        weight = part.weight.float() + delta.to(part.weight.device)
        if "lora_magnitude_vector" in parts:
            weight = self._lengthened(weight, parts["lora_magnitude_vector"], turned=turned, embedding=embedding)
        _put(part, "weight", weight)
        if "lora_B.bias" in parts:
            bias = parts["lora_B.bias"].float() * scale
            _put(part, "bias", bias if part.bias is None else part.bias.float() + bias.to(part.weight.device))

    def _scale(self, owner: str, rank: int) -> float:
        """What `B A` is multiplied by at a part of the network. Raises ModelError where ranks differ."""
        named = self._of("rank_pattern", owner, self._said.get("r", 8))
        if named != rank:
            raise self._unfit(f"is of rank {rank} at {owner}, and {CONFIG} says {named}")
        alpha = self._of("alpha_pattern", owner, self._said.get("lora_alpha", 8))
        return float(alpha) / (rank**0.5 if self._said.get("use_rslora") else rank)

    def _of(self, pattern: str, owner: str, usual: Any) -> Any:
        """What the first expression says that matches the end of a name; the usual where none does."""
        try:
            for expression, value in (self._said.get(pattern) or {}).items():
                if re.match(rf"(.*\.)?({expression})$", owner):
                    return value
        except re.error as error:
            raise self._unfit(f"has a {pattern} that is no expression") from error
        return usual

    def _lengthened(self, weight: Tensor, magnitudes: Tensor, *, turned: bool, embedding: bool) -> Tensor:
        """DoRA: each output of a matrix brought to its length."""
        if embedding:
            raise Unsupported(f"the adapter {self.folder} has magnitudes of an embedding table", hint=MERGE)
        outputs: Tensor = weight.T if turned else weight
        outputs = outputs * (magnitudes.to(outputs).flatten() / outputs.norm(dim=1))[:, None]
        return outputs.T.contiguous() if turned else outputs

    def _unfit(self, what: str) -> ModelError:
        return ModelError(f"the adapter {self.folder} {what}", hint="is it of this checkpoint?")


def adapter_in(folder: Path) -> Adapter | None:
    """The adapter in a folder, by itself or beside a checkpoint; None where there is none. Raises ModelError."""
    if (folder / CONFIG).is_file():
        return Adapter(folder)
    if (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder} has {WEIGHTS} and no {CONFIG}", hint="copy that as well, or take the adapter away")
    return None


class Adapted:
    """A checkpoint with an adapter merged into it."""

    def __init__(self, checkpoint: Folder | Checkpoint, adapter: Adapter) -> None:
        self._checkpoint, self.adapter = checkpoint, adapter
        self.content, self.generation = checkpoint.content, checkpoint.generation

    def plain(
        self, layout: Layout | None, dtype: torch.dtype | Literal["auto"], device: torch.device, *, blocks: bool = True
    ) -> Source | None:
        """The network of a checkpoint that its files alone tell of; None where they do not."""
        module = self._checkpoint.plain(layout, dtype, device, blocks=blocks)
        if module is not None:
            self.adapter.merge(module)
        return module

    def stock(
        self, layout: Layout | None, dtype: torch.dtype | Literal["auto"], device: torch.device
    ) -> PreTrainedModel:
        """transformers' module."""
        module = self._checkpoint.stock(layout, dtype, device)
        self.adapter.merge(module)
        return module

    def tokenizer(self) -> Tokenizer | None:
        """The adapter's own, with which it was trained, or else the checkpoint's; None where there is none."""
        own = (self.adapter.folder / "tokenizer.json").is_file()
        return load_tokenizer(self.adapter.folder) if own else self._checkpoint.tokenizer()


def _in_floats(module: Source, owner: str) -> nn.Module:
    """A part of the network, whose weights are floats from now on."""
    assert isinstance(module, nn.Module)
    part = module.get_submodule(owner)
    if isinstance(part, QuantisedLinear | QuantisedEmbedding):
        weight = part.quantised.dense()
        if isinstance(part, QuantisedEmbedding):
            made: nn.Module = nn.Embedding(len(weight), weight.shape[1], _weight=weight)
        else:
            made = nn.Linear(weight.shape[1], len(weight), bias=False, device="meta")
            _put(made, "bias", part.bias)
        _put(made, "weight", weight)
        parent, _, name = owner.rpartition(".")
        setattr(module.get_submodule(parent), name, made)
        return made
    return part


def _put(part: nn.Module, name: str, numbers: Tensor | None) -> None:
    """Numbers in the place, and in the type, of those of a part's weight."""
    if numbers is None:
        setattr(part, name, None)
        return
    like = part.weight
    assert isinstance(like, Tensor)
    numbers = numbers if like.is_meta else numbers.to(like)
    setattr(part, name, nn.Parameter(numbers, requires_grad=False))
