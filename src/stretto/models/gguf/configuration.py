"""What a GGUF file says of its network, as the content of a config.json. What it says and is not known is refused.

A key that is missing has the value that llama.cpp gives it, or is asked for where llama.cpp asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ModelError
from ..shape import FULL, SLIDING
from .file import File

TABLE, HEAD, TURNS = "token_embd.weight", "output.weight", "rope_freqs.weight"
KINDS = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3": "gemma3_text",
}  # -> model type of transformers
KNOWN = "known are " + ", ".join(KINDS)
LENGTHS = {  # key -> in config.json
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
}
SILENT = {"vocab_size", "tensor_data_layout"}  # change no logit: the table has its rows, the weights their order
USUAL_BASE = 10000.0  # radians per position, of the first pair of channels: its reciprocal is the last one's
UNCHANGED = ("none", "")  # kinds of scaling that scale nothing
LARGEST_GEMMA = 62  # layers


def content_of(file: File) -> dict[str, Any]:
    """The content of a config.json that describes the same network. Raises ModelError where there is none."""
    architecture = file.pairs.get("general.architecture")
    if not isinstance(architecture, str):
        raise ModelError(f"{file.path} names no architecture", hint="name the file that holds the model itself")
    kind = KINDS.get(architecture)
    if kind is None:
        hint = f"{KNOWN}; a folder of the same checkpoint may be read"
        raise ModelError(f"{file.path} holds a network of architecture {architecture!r}, not read from GGUF", hint=hint)
    pairs = _Pairs(file, architecture)
    lengths = {theirs: pairs.length(key) for key, theirs in LENGTHS.items() if key != "attention.head_count_kv"}
    heads = lengths["num_attention_heads"]
    lengths["num_key_value_heads"] = pairs.length("attention.head_count_kv", heads)
    size = pairs.length("attention.key_length", lengths["hidden_size"] // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        pairs.expect(key, size)
    pairs.expect("attention.causal", True)
    content = lengths | {
        "model_type": kind,
        "vocab_size": _shape(file, TABLE)[0],
        "head_dim": size,
        "rms_norm_eps": pairs.number("attention.layer_norm_rms_epsilon"),
        "hidden_act": "silu",
        "tie_word_embeddings": HEAD not in file.tensors,
        "rope_parameters": _rope(pairs),
    }
    if kind == "gemma3_text":
        content = _gemma3(pairs, content)
    pairs.nothing_else()
    return content


def _rope(pairs: _Pairs) -> dict[str, Any]:
    """The rotation, under the names that config.json has for it. Raises ModelError where its scaling is not known."""
    found: dict[str, Any] = {"rope_type": "default", "rope_theta": pairs.number("rope.freq_base", USUAL_BASE)}
    kind, original = pairs.known("rope.scaling.type"), pairs.known("rope.scaling.original_context_length")
    pairs.known("rope.scaling.finetuned")
    pairs.expect("rope.scaling.attn_factor", 1.0)
    older = pairs.number("rope.scale_linear", 1.0)
    factor = pairs.number("rope.scaling.factor", older)
    if kind not in (None, "linear", "yarn", *UNCHANGED):
        reason = f"{pairs.where} scales its rotation by {kind!r}, which is not known"
        raise ModelError(reason, hint="linear and yarn are; a folder of the same checkpoint may be read")
    if kind == "yarn":
        length = original or pairs.length("context_length")
        return found | {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": length}
    if factor != 1.0 and kind not in UNCHANGED:
        return found | {"rope_type": "linear", "factor": factor}
    return found


def _gemma3(pairs: _Pairs, content: dict[str, Any]) -> dict[str, Any]:
    """What a Gemma 3 has beside: layers that slide, turn by a base of their own, and score by their own scale."""
    rope, layers = content.pop("rope_parameters"), content["num_hidden_layers"]
    del content["hidden_act"]
    local = {"rope_type": "default", "rope_theta": pairs.number("rope.freq_base_swa", USUAL_BASE)}
    size, heads = content["head_dim"], content["num_attention_heads"]
    largest = layers == LARGEST_GEMMA  # of 27 billion weights: the only one whose scores are scaled otherwise
    cap = pairs.known("final_logit_softcapping")
    pattern = pairs.length("attention.sliding_window_pattern", 6)
    return content | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": content["hidden_size"] // heads if largest else size,
        "sliding_window": pairs.length("attention.sliding_window"),
        "layer_types": [FULL if (layer + 1) % pattern == 0 else SLIDING for layer in range(layers)],
        "rope_parameters": {FULL: rope, SLIDING: local},
        **({"final_logit_softcapping": cap} if cap else {}),
    }


class _Pairs:
    """The pairs of an architecture, and which of them were looked at."""

    def __init__(self, file: File, architecture: str) -> None:
        self._begun, self.where = f"{architecture}.", str(file.path)
        self._pairs: Mapping[str, Any] = file.pairs
        self._seen = {self._begun + key for key in SILENT}

    def known(self, key: str) -> Any:
        """The value of a key that is looked at; None where it is missing."""
        self._seen.add(self._begun + key)
        return self._pairs.get(self._begun + key)

    def length(self, key: str, usual: int | None = None) -> int:
        """A whole number above zero; where there is one for each layer, they must be alike."""
        value = self.known(key)
        each = value if isinstance(value, list) else [usual if value is None else value]
        if each == [None]:
            raise self._lacks(key)
        if len(set(each)) != 1 or type(each[0]) is not int or each[0] <= 0:
            raise ModelError(f"{self._begun}{key} of {self.where} is {value!r}", hint="not known; " + KNOWN)
        return each[0]

    def number(self, key: str, usual: float | None = None) -> float:
        """A number above zero."""
        value = self.known(key)
        value = usual if value is None else value
        if value is None:
            raise self._lacks(key)
        if not isinstance(value, int | float) or not value > 0:
            raise ModelError(f"{self._begun}{key} of {self.where} is {value!r}", hint="convert it again")
        return float(value)

    def expect(self, key: str, only: float) -> None:
        """Raise ModelError where the key has another value than the one that is known."""
        value = self.known(key)
        if value not in (None, only):
            hint = f"only {only} is known here; a folder of the same checkpoint may be read"
            raise ModelError(f"{self._begun}{key} of {self.where} is {value!r}", hint=hint)

    def nothing_else(self) -> None:
        """Raise ModelError where a key of the architecture says something that nobody looked at."""
        rest = [key for key in self._pairs if key.startswith(self._begun) and self._pairs[key]]
        if unknown := sorted(set(rest) - self._seen):
            hint = "a folder of the same checkpoint may be read"
            raise ModelError(f"{self.where} has {', '.join(unknown)}, which is not known here", hint=hint)

    def _lacks(self, key: str) -> ModelError:
        return ModelError(f"{self.where} has no {self._begun}{key}", hint="convert the checkpoint again")


def _shape(file: File, name: str) -> tuple[int, ...]:
    if name not in file.tensors:
        hint = "it may hold a vocabulary, an adapter or an encoder of images alone"
        raise ModelError(f"{file.path} has no {name}, so it is no language model", hint=hint)
    return tuple(file.tensors[name].shape)
