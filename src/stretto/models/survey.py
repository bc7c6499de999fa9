"""Finds out how a transformers module is built, by watching one small call of it.

Nothing is read from class names or config fields that a family may or may not have: how far a layer sees is
asked of the mask that the module itself would build, and where keys are rotated is seen from equal rows put in
at different positions. What cannot be driven exactly is refused here, with the reason.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionMaskInterface, PreTrainedModel

from ..errors import ModelError, StrettoError
from .attention import attend
from .hooks import NAME, AttentionCall, Hooks, VisitedCache, cache_argument
from .place import Chunk, Reach

HINT = "stretto drives decoders of transformers' common form (Llama, Qwen, GPT-2, …), and runs others from their cache"
UNBOUNDED = 2**17  # positions of a model that names no bound
PLACES = (0, 1, 37)  # positions at which the survey puts equal rows
# Keywords of an attention call that do not change its scores, or say what our own mask says already.
HARMLESS = {"position_ids", "use_cache", "sliding_window", "is_causal", "output_attentions", "cache_position"}


@dataclass(frozen=True, slots=True)
class Rotary:
    """How a layer turns its keys, so that it can be undone and done again."""

    turn: Callable[..., tuple[Tensor, Tensor]]  # the modelling file's apply_rotary_pos_emb(q, k, cos, sin)
    table: Callable[[Tensor], tuple[Tensor, Tensor]]  # positions [B, T] -> cos, sin, each [B, T, R]
    width: int  # how many channels are turned, the first ones: R, or 2 R where a table has each number once

    def undo(self, keys: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        """Keys [B, H, T, size] before rotation; rounding is that of one more rotation."""
        cos, sin = table
        square = (cos * cos + sin * sin)[:, None]  # 1, unless the family scales its tables (YaRN)
        if square.shape[-1] < self.width:
            square = square.repeat(1, 1, 1, 2)
        return self._front(keys, lambda front: self.turn(front, front, cos, -sin)[1] / square)

    def redo(self, keys: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        """Keys [B, H, T, size] after rotation."""
        cos, sin = table
        return self._front(keys, lambda front: self.turn(front, front, cos, sin)[1])

    def _front(self, keys: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Change the channels that are turned; the rest stays."""
        if self.width == keys.shape[-1]:
            return change(keys)
        return torch.cat([change(keys[..., : self.width]), keys[..., self.width :]], dim=-1)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What the survey found."""

    channels: int
    vocabulary: int
    shapes: tuple[tuple[int, int, int], ...]  # per layer: key heads, their size, that of values
    reaches: tuple[Reach, ...]  # per layer
    rotaries: tuple[Rotary | None, ...]  # per layer; None: it does not rotate
    raw_keys: bool  # whether every layer's keys can be had before rotation

    @property
    def widest(self) -> tuple[int, int, int]:
        """What holds the keys and values of each layer: most heads, largest sizes."""
        heads, key_sizes, value_sizes = zip(*self.shapes, strict=True)
        return max(heads), max(key_sizes), max(value_sizes)


def decoder_layers(module: PreTrainedModel) -> nn.ModuleList:
    """The module's decoder layers; raises ModelError where there is no single list of them."""
    config = module.config.get_text_config()
    name = type(module).__name__
    if config.is_encoder_decoder:
        raise ModelError(f"{name} has an encoder; only decoders can be driven", hint=HINT)
    count = getattr(config, "num_hidden_layers", None)
    sees = getattr(module.config, "vision_config", None) is not None
    parts = module.get_decoder().modules() if sees else module.modules()
    lists = [part for part in parts if isinstance(part, nn.ModuleList) and len(part) == count]
    inner = {id(part) for outer in lists for layer in outer for part in layer.modules()}
    outer = [part for part in lists if id(part) not in inner]
    if len(outer) != 1:
        raise ModelError(f"{name} has {len(outer)} lists of {count} decoder layers instead of one", hint=HINT)
    accepted = inspect.signature(module.base_model.forward).parameters
    missing = [each for each in ("position_ids", "inputs_embeds") if each not in accepted]
    if not (cache_argument(module) and cache_argument(module.base_model)):
        missing.append("cache")
    if missing:
        has = features(config)
        because = f"has {has} and " if has else ""
        raise ModelError(f"{name} {because}cannot be told its {', '.join(missing)}", hint=HINT)
    if not hasattr(sys.modules[type(outer[0][0]).__module__], "ALL_ATTENTION_FUNCTIONS"):
        raise ModelError(f"{name} has an attention of its own, in place of which no other can be put", hint=HINT)
    return outer[0]


# Fields of a configuration that say what a model has; they name it in a refusal, and decide nothing.
FEATURES = {
    "kv_lora_rank": "multi-head latent attention",
    "index_topk": "an indexer that picks the keys",
    "alibi": "slopes in place of positions (ALiBi)",
    "mamba_d_state": "a state-space recurrence beside attention",
    "ssm_state_size": "a state-space recurrence",
    "state_size": "a state-space recurrence",
    "linear_num_key_heads": "layers of linear attention",
    "linear_conv_kernel_dim": "layers of linear attention",
    "conv_L_cache": "layers of short convolutions",
    "full_attn_alpha_factor": "layers of linear attention",
    "keep_window_size": "attention with a mask that its layers compute",
    "attn_temperature_tuning": "queries scaled by the length of the cache",
}


def features(config: Any) -> str:
    """What a configuration names of what stretto does not know, in words; empty where it names nothing of it."""
    return " and ".join(dict.fromkeys(text for field, text in FEATURES.items() if getattr(config, field, None)))


@contextmanager
def serving(module: PreTrainedModel) -> Iterator[None]:
    """Within this block, whatever a module of unknown form raises becomes a ModelError that says what it has."""
    try:
        yield
    except StrettoError:
        raise
    except Exception as error:  # a forward that is driven otherwise than it was meant to may raise anything
        name = type(module).__name__
        reason = features(module.config.get_text_config())
        if not reason and isinstance(error, AttributeError) and isinstance(error.obj, VisitedCache):
            reason = f"a cache of more than keys and values ({error.name})"
        reason = reason or "layers that use masks, rows or caches in a way of their own"
        raise ModelError(f"{name} has {reason}, which the common form has not", hint=HINT) from error


def max_positions(module: PreTrainedModel) -> int:
    """How many positions a row can have.

    Where the rotation of all rows would change with the longest one (LongRoPE, arXiv 2402.13753, and dynamic
    scaling), only those before the change: beyond it, a row's result would depend on its neighbours.
    """
    config = module.config.get_text_config()
    limit = int(getattr(config, "max_position_embeddings", None) or UNBOUNDED)
    ropes = getattr(config, "rope_parameters", None) or {}
    for rope in [ropes, *(each for each in ropes.values() if isinstance(each, dict))]:
        if rope.get("rope_type") in ("longrope", "dynamic"):
            limit = min(limit, rope.get("original_max_position_embeddings") or limit)
    return limit


def survey(module: PreTrainedModel, hooks: Hooks, layers: int) -> Anatomy:
    """Watch the module evaluate equal rows at a few positions; raises ModelError where it cannot be driven."""
    device, dtype = module.device, module.dtype
    furthest = max_positions(module) - 1
    places = torch.tensor([[min(place, furthest) for place in PLACES]], device=device)
    watch = _Watch(layers, places, features(module.config.get_text_config()))
    recorded = [part.register_forward_hook(watch.see_table, with_kwargs=True) for part in module.modules()]
    try:
        with hooks.visited_by(watch):
            output = module(
                input_ids=torch.zeros_like(places),
                position_ids=places,
                use_cache=True,
                return_dict=True,
                **{cache_argument(module): _WatchedCache(watch, furthest)},
            )
    finally:
        for handle in recorded:
            handle.remove()
    return watch.anatomy(output.logits.shape[-1], 1e-3 if dtype == torch.float32 else 3e-2)


class _Watch:
    """A visitor that gives every layer the same rows and notes what the layer does with them."""

    def __init__(self, layers: int, places: Tensor, has: str) -> None:
        self.places = places
        self.has = has  # what of the unknown the configuration names
        self.rows: Tensor | None = None  # [1, T, C], all T alike
        self.reaches: list[Reach] = []
        self.inside = False  # whether a layer runs
        self.keys: list[Tensor] = []  # per layer, [1, H, T, size]
        self.values: list[Tensor] = []
        self.attentions: list[nn.Module] = []  # the module of each layer that attends
        self.embeddings: list[Any] = []  # the rotary table that each layer was given
        self.tables: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any], Any]] = []
        self.layers = layers
        self._rotaries: dict[tuple[int, int], Rotary] = {}  # by the table handed out and width; layers share them

    def see_table(self, part: nn.Module, args: tuple[Any, ...], arguments: dict[str, Any], output: Any) -> None:
        """Note each call that yields a pair of tensors: the rotary modules are among them."""
        if isinstance(output, tuple) and len(output) == 2 and all(isinstance(each, Tensor) for each in output):
            self.tables.append((part, args, arguments, output))

    def layer(self, index: int, run: Callable[[Tensor], Tensor], hidden: Tensor, arguments: dict[str, Any]) -> Tensor:
        if hidden.dim() != 3:
            raise ModelError(f"decoder layers take rows of {hidden.dim()} dimensions instead of 3", hint=HINT)
        self.reaches.append(_reach(index, arguments, self.has))
        if self.rows is None:
            generator = torch.Generator().manual_seed(0)
            row = torch.randn(1, 1, hidden.shape[-1], generator=generator).to(hidden)
            self.rows = row.expand(hidden.shape)
        self.embeddings.append(arguments.get("position_embeddings"))
        self.inside = True
        left = run(self.rows)
        self.inside = False
        if not isinstance(left, Tensor):
            raise ModelError(f"decoder layer {index} yields {type(left).__name__} instead of its rows", hint=HINT)
        if len(self.keys) != index + 1 or len(self.attentions) != index + 1:
            raise ModelError(f"decoder layer {index} does not attend as transformers' common form does", hint=HINT)
        return left

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.keys.append(keys)
        self.values.append(values)
        return keys, values

    def attend(self, call: AttentionCall) -> Tensor:
        given = [key for key, value in call.others.items() if value is not None and value is not False]
        unknown = [key for key in given if key not in HARMLESS]
        if unknown:
            raise ModelError(f"its attention uses {', '.join(unknown)}, which stretto does not know", hint=HINT)
        self.attentions.append(call.module)
        return attend(
            call.query, call.keys, call.values, None, scale=call.scale, softcap=call.softcap, sinks=call.sinks
        )

    def anatomy(self, vocabulary: int, tolerance: float) -> Anatomy:
        """What was seen, put together."""
        stored = zip(self.keys, self.values, strict=True)
        shapes = tuple((keys.shape[1], keys.shape[-1], values.shape[-1]) for keys, values in stored)
        assert len(shapes) == self.layers, "each layer has stored its keys"
        found = [self._rotary(index, tolerance) for index in range(self.layers)]
        assert self.rows is not None
        return Anatomy(
            channels=self.rows.shape[-1],
            vocabulary=vocabulary,
            shapes=shapes,
            reaches=tuple(self.reaches),
            rotaries=tuple(rotary for _, rotary in found),
            raw_keys=all(known for known, _ in found),
        )

    def _rotary(self, index: int, tolerance: float) -> tuple[bool, Rotary | None]:
        """Whether the form of layer `index` is known, and how it rotates (None: not at all).

        Equal rows have equal keys before rotation, wherever they stand.
        """
        keys, embedding = self.keys[index], self.embeddings[index]
        if not _alike(self.values[index], tolerance):  # multi-head latent attention keeps turned channels there
            return False, None
        if _alike(keys, tolerance):
            return True, None
        source = sys.modules[type(self.attentions[index]).__module__]
        turn = getattr(source, "apply_rotary_pos_emb", None)
        made = next((each for each in self.tables if each[3] is embedding), None)
        if turn is None or made is None:
            return False, None
        table = _table_maker(made[0], made[1], made[2], self.places)
        for width in (embedding[0].shape[-1], 2 * embedding[0].shape[-1]):
            rotary = self._rotaries.setdefault((id(embedding), width), Rotary(turn, table, width))
            try:
                raw = rotary.undo(keys, embedding)
                if _alike(raw, tolerance) and torch.allclose(rotary.redo(raw, embedding), keys, atol=tolerance):
                    return True, rotary
            except (TypeError, RuntimeError, IndexError):  # a function of that name with other arguments
                continue
        return False, None


def _alike(keys: Tensor, tolerance: float) -> bool:
    """Whether keys [1, H, T, size] are the same at all T positions."""
    return bool((keys - keys[:, :, :1]).abs().max() <= tolerance * keys.abs().max())


def _table_maker(
    part: nn.Module, args: tuple[Any, ...], arguments: dict[str, Any], places: Tensor
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The call of a rotary module that was seen, as a function of the positions alone."""

    def table(positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = part(
            *(positions if each is places else each for each in args),
            **{key: positions if each is places else each for key, each in arguments.items()},
        )
        return cos, sin

    return table


class _WatchedCache(VisitedCache):
    """Refuses what a layer may ask of its cache beside keys and values."""

    def __init__(self, watch: _Watch, far: int) -> None:
        super().__init__(watch, far)
        self._watch = watch

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Where the window begins. A layer that asks reckons its positions from it: those of a tree are others."""
        if self._watch.inside:
            raise ModelError("its layers take positions from the length of the cache", hint=HINT)
        return super().get_seq_length(layer_idx)


def _reach(index: int, arguments: dict[str, Any], has: str) -> Reach:
    """How far back a layer sees, from the mask that the module built for it through `_opening`."""
    handed = [arguments.get("attention_mask"), *arguments["positional"]]
    forms = [each.form for each in handed if hasattr(each, "form")]
    if not forms:
        because = f"; the model has {has}" if has else ""
        raise ModelError(f"decoder layer {index} is given no attention mask of the common form{because}", hint=HINT)
    if isinstance(forms[0], str):
        raise ModelError(f"decoder layer {index} sees {forms[0]}", hint=HINT)
    form: Reach = forms[0]
    return form


def _opening(q_offset: int, mask_function: Callable[..., Tensor], device: torch.device, **_: Any) -> Tensor:
    """Stands for a mask: an empty tensor whose `form` says what the mask would open."""
    slots = torch.arange(q_offset + 2, device=device)  # the last one lies in the future of the furthest query

    def row(query: int) -> Tensor:
        """Which slots the query at this slot sees."""
        return mask_function(0, 0, torch.tensor(query, device=device), slots).expand(slots.shape)

    mask = torch.empty(0, dtype=torch.bool, device=device)
    mask.form = _form(row, q_offset, slots)  # type: ignore[attr-defined]
    return mask


def _form(row: Callable[[int], Tensor], far: int, slots: Tensor) -> Reach | str:
    """What the rows of a mask have in common, asked up to the query at `far`; a text where it is nothing known."""
    opening = row(far)
    if bool(opening[-1]):
        return "tokens that are not yet written"
    seen = int(opening.sum())
    forms: list[Reach] = [None] if seen == far + 1 else [seen, Chunk(max(1, int(row(far - seen).sum())))]
    for form in forms:
        span = form.size if isinstance(form, Chunk) else form or far
        queries = {0, 1, far // 2, far - 1, far, *(max(far - seen, 0), span - 1, span, span + 1, 2 * span)}
        if all(torch.equal(row(query), _seen(form, query, slots)) for query in queries if 0 <= query <= far):
            return form
    return "other tokens than the last ones"


def _seen(form: Reach, query: int, slots: Tensor) -> Tensor:
    """Which slots a query sees under a form."""
    start = 0 if form is None else query // form.size * form.size if isinstance(form, Chunk) else query - form + 1
    return (slots >= start) & (slots <= query)


AttentionMaskInterface.register(NAME, _opening)
