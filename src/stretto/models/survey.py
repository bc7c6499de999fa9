"""Finds out how a transformers module is built, by watching one small call of it.

Nothing is read from class names or config fields that a family may or may not have: how far a layer sees is
asked of the mask that the module itself would build, and where keys are rotated is seen from equal rows put in
at different positions. What cannot be driven exactly is refused here, with the reason.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionMaskInterface, PreTrainedModel

from ..errors import ModelError
from .attention import attend
from .hooks import NAME, AttentionCall, Hooks, VisitedCache, cache_argument

HINT = "stretto drives decoder-only models of transformers' common form (Llama, Qwen, Gemma, GPT-2, …)"
UNBOUNDED = 2**17  # positions of a model that names no bound
PLACES = (0, 1, 37)  # positions at which the survey puts equal rows
# Keywords of an attention call that do not change its scores, or say what our own mask says already.
HARMLESS = {"position_ids", "use_cache", "sliding_window", "is_causal", "output_attentions", "cache_position"}


@dataclass(frozen=True, slots=True)
class Rotary:
    """How a layer turns its keys, so that it can be undone and done again."""

    turn: Callable[..., tuple[Tensor, Tensor]]  # the modelling file's apply_rotary_pos_emb(q, k, cos, sin)
    table: Callable[[Tensor], tuple[Tensor, Tensor]]  # positions [B, T] -> cos, sin, each [B, T, R]

    def undo(self, keys: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        """Keys [B, H, T, size] before rotation; rounding is that of one more rotation."""
        cos, sin = table
        square = (cos * cos + sin * sin)[:, None]  # 1, unless the family scales its tables (YaRN)
        return self._front(keys, cos.shape[-1], lambda front: self.turn(front, front, cos, -sin)[1] / square)

    def redo(self, keys: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        """Keys [B, H, T, size] after rotation."""
        cos, sin = table
        return self._front(keys, cos.shape[-1], lambda front: self.turn(front, front, cos, sin)[1])

    @staticmethod
    def _front(keys: Tensor, width: int, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Change the first `width` channels; the rest is not rotated."""
        if width == keys.shape[-1]:
            return change(keys)
        return torch.cat([change(keys[..., :width]), keys[..., width:]], dim=-1)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What the survey found."""

    channels: int
    vocabulary: int
    key_heads: int
    key_size: int
    value_size: int
    reaches: tuple[int | None, ...]  # per layer: positions that it sees, its own included; None: all
    rotaries: tuple[Rotary | None, ...]  # per layer; None: it does not rotate
    raw_keys: bool  # whether every layer's keys can be had before rotation


def decoder_layers(module: PreTrainedModel) -> nn.ModuleList:
    """The module's decoder layers; raises ModelError where there is no single list of them."""
    config = module.config.get_text_config()
    name = type(module).__name__
    if config.is_encoder_decoder:
        raise ModelError(f"{name} has an encoder; only decoders can be driven", hint=HINT)
    count = getattr(config, "num_hidden_layers", None)
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    inner = {id(part) for outer in lists for layer in outer for part in layer.modules()}
    outer = [part for part in lists if id(part) not in inner]
    if len(outer) != 1:
        raise ModelError(f"{name} has {len(outer)} lists of {count} decoder layers instead of one", hint=HINT)
    accepted = inspect.signature(module.base_model.forward).parameters
    missing = [each for each in ("position_ids", "inputs_embeds") if each not in accepted]
    if not (cache_argument(module) and cache_argument(module.base_model)):
        missing.append("cache")
    if missing:
        raise ModelError(f"{name} cannot be told its {', '.join(missing)}", hint=HINT)
    return outer[0]


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
    watch = _Watch(layers, places)
    recorded = [part.register_forward_hook(watch.see_table, with_kwargs=True) for part in module.modules()]
    try:
        with hooks.visited_by(watch):
            output = module(
                input_ids=torch.zeros_like(places),
                position_ids=places,
                use_cache=True,
                return_dict=True,
                **{cache_argument(module): VisitedCache(watch, far=furthest)},
            )
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{type(module).__name__} cannot be driven: {reason}", hint=HINT) from error
    finally:
        for handle in recorded:
            handle.remove()
    return watch.anatomy(output.logits.shape[-1], 1e-3 if dtype == torch.float32 else 3e-2)


class _Watch:
    """A visitor that gives every layer the same rows and notes what the layer does with them."""

    def __init__(self, layers: int, places: Tensor) -> None:
        self.places = places
        self.rows: Tensor | None = None  # [1, T, C], all T alike
        self.reaches: list[int | None] = []
        self.keys: list[Tensor] = []  # per layer, [1, H, T, size]
        self.values: list[Tensor] = []
        self.attentions: list[nn.Module] = []  # the module of each layer that attends
        self.embeddings: list[Any] = []  # the rotary table that each layer was given
        self.tables: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any], Any]] = []
        self.layers = layers
        self._rotaries: dict[int, Rotary] = {}  # by the identity of the table handed out; layers share them

    def see_table(self, part: nn.Module, args: tuple[Any, ...], arguments: dict[str, Any], output: Any) -> None:
        """Note each call that yields a pair of tensors: the rotary modules are among them."""
        if isinstance(output, tuple) and len(output) == 2 and all(isinstance(each, Tensor) for each in output):
            self.tables.append((part, args, arguments, output))

    def layer(self, index: int, run: Callable[[Tensor], Tensor], hidden: Tensor, arguments: dict[str, Any]) -> Tensor:
        if hidden.dim() != 3:
            raise ModelError(f"decoder layers take rows of {hidden.dim()} dimensions instead of 3", hint=HINT)
        if self.rows is None:
            generator = torch.Generator().manual_seed(0)
            row = torch.randn(1, 1, hidden.shape[-1], generator=generator).to(hidden)
            self.rows = row.expand(hidden.shape)
        self.reaches.append(_reach(index, arguments))
        self.embeddings.append(arguments.get("position_embeddings"))
        left = run(self.rows)
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
        return attend(call.query, call.keys, call.values, None, scale=call.scale, softcap=call.softcap)

    def anatomy(self, vocabulary: int, tolerance: float) -> Anatomy:
        """What was seen, put together."""
        shapes = {(*keys.shape, values.shape[-1]) for keys, values in zip(self.keys, self.values, strict=True)}
        if len(self.keys) != self.layers or len(shapes) != 1:
            raise ModelError(f"its layers store keys of {len(shapes)} shapes instead of one", hint=HINT)
        _, heads, _, key_size, value_size = shapes.pop()
        found = [self._rotary(index, tolerance) for index in range(self.layers)]
        assert self.rows is not None
        return Anatomy(
            channels=self.rows.shape[-1],
            vocabulary=vocabulary,
            key_heads=heads,
            key_size=key_size,
            value_size=value_size,
            reaches=tuple(self.reaches),
            rotaries=tuple(rotary for _, rotary in found),
            raw_keys=all(known for known, _ in found),
        )

    def _rotary(self, index: int, tolerance: float) -> tuple[bool, Rotary | None]:
        """Whether the form of layer `index` is known, and how it rotates (None: not at all).

        Equal rows have equal keys before rotation, wherever they stand.
        """
        keys, embedding = self.keys[index], self.embeddings[index]
        if _alike(keys, tolerance):
            return True, None
        source = sys.modules[type(self.attentions[index]).__module__]
        turn = getattr(source, "apply_rotary_pos_emb", None)
        made = next((each for each in self.tables if each[3] is embedding), None)
        if turn is None or made is None:
            return False, None
        made_rotary = Rotary(turn, _table_maker(made[0], made[1], made[2], self.places))
        rotary = self._rotaries.setdefault(id(embedding), made_rotary)
        try:
            raw = rotary.undo(keys, embedding)
            known = _alike(raw, tolerance) and bool(torch.allclose(rotary.redo(raw, embedding), keys, atol=tolerance))
        except (TypeError, RuntimeError, IndexError):  # a function of that name with other arguments
            return False, None
        return known, rotary if known else None


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


def _reach(index: int, arguments: dict[str, Any]) -> int | None:
    """How far back a layer sees, from the mask that the module built for it through `_open_slots`."""
    handed = [arguments.get("attention_mask"), *arguments["positional"]]
    openings = [each for each in handed if isinstance(each, Tensor) and each.dtype == torch.bool]
    if not openings:
        raise ModelError(f"decoder layer {index} is given no attention mask of the common form", hint=HINT)
    opening = openings[0]  # [S + 1]: the last slot lies in the future of the query at S - 1
    if bool(opening[-1]):
        raise ModelError(f"decoder layer {index} sees tokens that are not yet written", hint=HINT)
    size = opening.shape[0] - 1
    seen = int(opening.sum())
    if not bool(opening[size - seen : size].all()):
        raise ModelError(f"decoder layer {index} sees other tokens than the last ones", hint=HINT)
    return None if seen == size else seen


def _open_slots(q_offset: int, mask_function: Callable[..., Tensor], device: torch.device, **_: Any) -> Tensor:
    """Stands for a mask: which slots a query at slot `q_offset` sees, bool [q_offset + 2]."""
    slots = torch.arange(q_offset + 2, device=device)
    opening = mask_function(0, 0, torch.tensor(q_offset, device=device), slots)
    return opening.expand(slots.shape)


AttentionMaskInterface.register(NAME, _open_slots)
