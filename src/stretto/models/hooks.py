"""Stands between a transformers module and its decoder layers, attention and cache.

A `Visitor` decides what each layer does during one call; while nobody visits, the module behaves as ever.
This file is the only one that knows transformers' calling conventions:
- decoder layers stand in one ModuleList and are called with the hidden rows first;
- attention goes through `ALL_ATTENTION_FUNCTIONS`, under the name that the config holds at that moment;
- keys and values go through the `update` of the cache object, between rotation and attention;
- the cache object is the argument of forward that is annotated as one, whatever its name;
- a 4-D attention mask is handed to the layers as it is, so none is built.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "stretto"  # of our attention function among transformers' own


@dataclass(slots=True)
class AttentionCall:
    """What a module's attention asks for. Shapes as in `attention.attend`; the mask is ours, not the module's."""

    module: nn.Module
    query: Tensor
    keys: Tensor
    values: Tensor
    scale: float
    softcap: float | None
    sinks: Tensor | None  # [H]
    others: dict[str, Any]  # further keywords of the family


class Visitor(Protocol):
    """What happens in one call of the module. Of every layer: `layer`, inside it `update`, then `attend`."""

    def layer(self, index: int, run: Callable[[Tensor], Tensor], hidden: Tensor, arguments: dict[str, Any]) -> Tensor:
        """The rows that leave layer `index`; `run` is the layer itself, `arguments` what else it was called with."""
        ...

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values that the rows may see, given those of the window."""
        ...

    def attend(self, call: AttentionCall) -> Tensor:
        """What the queries read: [B, H, T, size]."""
        ...


def configs_of(module: nn.Module) -> list[Any]:
    """The configurations that the parts of a module read."""
    return list({id(config): config for part in module.modules() if (config := getattr(part, "config", None))}.values())


@contextmanager
def attending_by(configs: Iterable[Any], name: str) -> Iterator[None]:
    """Within this block, modules of these configurations attend by transformers' implementation of that name."""
    before = [(config, config._attn_implementation) for config in configs]
    try:
        for config, _ in before:
            config._attn_implementation = name
        yield
    finally:
        for config, own in before:
            config._attn_implementation = own


class Hooks:
    """The places where a visitor can enter one module."""

    def __init__(self, module: nn.Module, layers: nn.ModuleList) -> None:
        self._visitor: Visitor | None = None
        self._layers = layers
        self._configs = configs_of(module)
        for index, layer in enumerate(layers):
            # An attribute of the instance goes before the method of its class; the module tree stays as it is.
            layer.forward = partial(self._layer, index, layer.forward)
            for part in layer.modules():
                part.stretto_hooks = self  # type: ignore[assignment]

    def remove(self) -> None:
        """Leave the module as it was found."""
        for layer in self._layers:
            del layer.forward
            for part in layer.modules():
                del part.stretto_hooks

    @contextmanager
    def visited_by(self, visitor: Visitor) -> Iterator[None]:
        """Within this block the module's layers, attention and cache ask `visitor`."""
        self._visitor = visitor
        try:
            with attending_by(self._configs, NAME):
                yield
        finally:
            self._visitor = None

    def attend(self, call: AttentionCall) -> Tensor:
        """Answer the module's attention."""
        assert self._visitor is not None, "attention asks a visitor that has left"
        return self._visitor.attend(call)

    def _layer(
        self, index: int, forward: Callable[..., Tensor], hidden: Tensor, *args: Any, **arguments: Any
    ) -> Tensor:
        if self._visitor is None:
            return forward(hidden, *args, **arguments)
        # Some families hand the mask over by place; the survey looks for it among all arguments.
        return self._visitor.layer(
            index, lambda rows: forward(rows, *args, **arguments), hidden, {**arguments, "positional": args}
        )


def cache_argument(module: nn.Module) -> str:
    """The name under which a module's forward takes its cache; empty where it takes none of transformers'.

    Releases of transformers call it differently; its type is what they have in common.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    return next((each.name for each in parameters if "Cache" in str(each.annotation)), "")


class VisitedCache:
    """What the module takes for its cache: hands keys and values to the visitor.

    `far` is the position at which the module shall think that the window begins, should it build a mask.
    """

    def __init__(self, visitor: Visitor, far: int = 0) -> None:
        self._visitor = visitor
        self._far = far

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, T, size] of the layer that runs -> all that it may see."""
        return self._visitor.update(key_states, value_states)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Where the window begins."""
        return self._far

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Where the window begins."""
        return self._far

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """How many slots a mask would cover, and which is the first."""
        return self._far + query_length, 0


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; returns [B, T, H, size]."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    hooks = module.stretto_hooks
    assert isinstance(hooks, Hooks)
    read = hooks.attend(AttentionCall(module, query, key, value, scale, softcap, s_aux, others))
    return read.transpose(1, 2).contiguous(), None  # some families view it at once


AttentionInterface.register(NAME, _attention)
