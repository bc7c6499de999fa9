"""Reads a Llama-shaped module, transformers' or that of plain.py, into the fused weights that `lean.py` runs on.

What the module is follows from its attributes and shapes, never from its name; whatever is not
understood raises `Unlike`, and a look-alike is caught when logits are compared (fast.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from itertools import accumulate, groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernel_choice import Wish, linears, named
from .linear import Linear, Matrix, Weight, dense
from .quantised import Quantised, QuantisedEmbedding, QuantisedLinear, stacked
from .rotation import turning
from .shape import NORMS, Norms
from .source import Source, Unlike, decoder_of
from .weights import Layer, Norm, Weights

KNOWN = {
    *(f"self_attn.{name}_proj.{kind}" for name in ("q", "k", "v", "qkv", "o") for kind in ("weight", "bias")),
    *(f"mlp.{name}_proj.{kind}" for name in ("gate", "up", "gate_up", "down") for kind in ("weight", "bias")),
    "self_attn.q_norm.weight",
    "self_attn.k_norm.weight",
}
# What a configuration class may declare and the code here knows: because it reads it, because the module's weights
# and attributes say the same, or because it changes no logit. Of anything else nobody knows what it does.
FIELDS = {
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "max_position_embeddings", "original_max_position_embeddings", "rope_parameters"),
    *("hidden_act", "hidden_activation", "rms_norm_eps", "tie_word_embeddings"),
    *("attention_bias", "attention_out_bias", "mlp_bias"),
    *("sliding_window", "use_sliding_window", "max_window_layers", "sliding_window_pattern", "layer_types"),
    *("no_rope_layers", "no_rope_layer_interval"),
    *("attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"),
    *("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"),
    *("attention_dropout", "embd_pdrop", "resid_pdrop", "residual_dropout", "initializer_range", "pretraining_tp"),
    *("bos_token_id", "eos_token_id", "eod_token_id", "pad_token_id", "use_cache"),
}
ROPE_FIELDS = {
    *("type", "rope_type", "rope_theta", "factor", "partial_rotary_factor", "attention_factor", "truncate"),
    *("max_position_embeddings", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    *("beta_fast", "beta_slow", "mscale", "mscale_all_dim"),
}


def fuse(module: Source, wish: Wish = Wish()) -> Weights:
    """The module's weights, copied, fused and packed; the module stays as it is. Raises Unlike."""
    return _Reader(module).weights(wish)


def release(module: Source) -> None:
    """Drop the module's own copy of every matrix that `fuse` has copied (the embedding table is shared)."""
    parts = [part for layer in decoder_of(module).layers for part in layer.modules()]
    for part in [*parts, module.get_output_embeddings()]:
        if isinstance(part, nn.Linear):
            part.weight = nn.Parameter(part.weight.new_empty(0), requires_grad=False)


class _Reader:
    def __init__(self, module: Source) -> None:
        self.module = module
        self.config = module.config.get_text_config()
        base = decoder_of(module)
        for name in ("embed_tokens", "layers", "norm", "rotary_emb"):
            if not hasattr(base, name):
                raise Unlike(f"the decoder has no {name}")
        self.base: Any = base
        self.table = _table(base.embed_tokens)
        if module.training:
            raise Unlike("it is in training mode")
        self._check_fields()
        weight = getattr(base.norm, "weight", None)
        if weight is None:
            raise Unlike("its last norm has no weight")
        self.dtype, self.device = weight.dtype, weight.device
        attention = self._attention(base.layers[0])
        self.head_size = int(getattr(attention, "head_dim", 0))
        self.heads = int(self.config.num_attention_heads)
        self.key_heads = int(self.config.num_key_value_heads)
        self.turning = turning(base, self.config, self.head_size)
        self.channel_order = self._order()

    def weights(self, wish: Wish) -> Weights:
        base, config = self.base, self.config
        head = self.module.get_output_embeddings()
        if type(head) not in (nn.Linear, QuantisedLinear) or head.bias is not None:
            raise Unlike("its head is no plain matrix")
        divisor = float(getattr(config, "logits_scaling", None) or 1.0)
        self.gelu = self._gelu(base.layers[0].mlp)
        layers = list(base.layers)
        for index, layer in enumerate(layers):
            self._check(index, layer)
        whole = wish.form == "float32"  # whatever blocks they are in
        size = sum(4 * math.prod(each.shape) if whole else each.nbytes for each in self._matrices())
        kinds = {"qkv": self._qkv, "out": self._out, "gate_up": self._gate_up, "down": self._down}
        products = {  # one kind after the other, so that only one kind's copies lie about
            kind: linears([read(layer) for layer in layers], size, wish) for kind, read in kinds.items()
        }
        last = linears([_scaled(_weight(head), None, 1 / divisor)], size, wish)
        held = {kind for series in (*products.values(), last) for each in series for kind in each.kinds}
        return Weights(
            name=" ".join(filter(None, (self.module.config.name_or_path or config.model_type, wish.form))),
            table=self.table,
            embedding_scale=self._embedding_scale(),
            layers=tuple(
                self._layer(layer, rotation, parts)
                for layer, rotation, *parts in zip(layers, self.turning.of_layers, *products.values(), strict=True)
            ),
            final_norm=self._norm(base.norm),
            head=last[0],
            heads=self.heads,
            key_heads=self.key_heads,
            head_size=self.head_size,
            rotations=self.turning.rotations,
            score_cap=self._score_cap(base.layers[0].self_attn),
            logit_cap=getattr(config, "final_logit_softcapping", None),
            gelu=self.gelu,
            max_positions=int(config.max_position_embeddings),
            parameters=sum(math.prod(weight.shape) for weight in self._matrices()),
            wish=wish,
            kernels={kind: named(series[0]) for kind, series in (products | {"head": last}).items()},
            dtype=self.dtype,
            blocks="+".join(sorted(held)),
        )

    def _matrices(self) -> list[Tensor | Quantised]:
        """All weights, each once, in blocks or not."""
        parts = [*self.base.modules(), self.module.get_output_embeddings()]
        held = [part.quantised for part in parts if isinstance(part, QuantisedLinear | QuantisedEmbedding)]
        floats = {id(weight): weight for part in parts for weight in part.parameters(recurse=False)}
        return [*floats.values(), *{id(each.data): each for each in held}.values()]

    def _check_fields(self) -> None:
        """Whether the configuration declares nothing but what is known here; what is off or absent does nothing."""
        kind = type(self.config)
        common = next(each for each in reversed(kind.__mro__) if is_dataclass(each))  # what all configurations have
        declared = kind.__dataclass_fields__.keys() - common.__dataclass_fields__.keys()
        given = getattr(self.config, "rope_parameters", None) or {}
        ropes = [each for each in given.values() if isinstance(each, Mapping)] or [given]  # by type of layer, or one
        fields = [name for name in declared - FIELDS if getattr(self.config, name, None)]
        fields += [name for rope in ropes for name in rope.keys() - ROPE_FIELDS if rope[name]]
        if fields:
            more = f" and {len(fields) - 3} more" if fields[3:] else ""
            raise Unlike(f"it has {', '.join(sorted(fields)[:3])}{more}, which the fast path does not know")

    def _check(self, index: int, layer: Any) -> None:
        norms = {f"{name}.weight" for name in self._norms(layer)}
        unknown = {name for name, _ in layer.named_parameters()} - KNOWN - norms
        if unknown:
            raise Unlike(f"layer {index} has weights that are not Llama's: {', '.join(sorted(unknown))}")
        self._attention(layer)

    def _layer(self, layer: Any, rotation: int | None, products: Sequence[Linear]) -> Layer:
        qkv, out, gate_up, down = products
        attention = layer.self_attn
        reach = getattr(attention, "sliding_window", getattr(self.config, "sliding_window", None))
        turns = getattr(attention, "use_rope", True)
        if reach is not None and getattr(attention, "is_sliding", True) is False:
            reach, turns = None, False  # EXAONE 4: a layer that sees all, and turns nothing
        norms = [self._norm(getattr(layer, name)) if name else None for name in self._norms(layer)]
        return Layer(
            attention_norm=norms[0],
            qkv=qkv,
            head_norms=self._head_norms(attention) if hasattr(attention, "q_norm") else (),
            rotation=rotation if turns else None,
            scale=float(attention.scaling),
            reach=None if reach is None else int(reach),
            out=out,
            attention_post=norms[1],
            mlp_norm=norms[2],
            gate_up=gate_up,
            down=down,
            mlp_post=norms[3],
        )

    def _qkv(self, layer: Any) -> Matrix:
        weight, bias = _stacked(layer.self_attn, ("q_proj", "k_proj", "v_proj"), "qkv_proj")
        return _ordered(weight, self.channel_order), None if bias is None else bias[self.channel_order]

    def _out(self, layer: Any) -> Matrix:
        weight, bias = _stacked(layer.self_attn, ("o_proj",))
        return _scaled(weight, bias, float(getattr(layer, "residual_multiplier", 1.0)))

    def _gate_up(self, layer: Any) -> Matrix:
        return _stacked(layer.mlp, ("gate_proj", "up_proj"), "gate_up_proj")

    def _down(self, layer: Any) -> Matrix:
        weight, bias = _stacked(layer.mlp, ("down_proj",))
        return _scaled(weight, bias, float(getattr(layer, "residual_multiplier", 1.0)))

    def _attention(self, layer: Any) -> Any:
        for name in ("self_attn", "mlp"):
            if not hasattr(layer, name):
                raise Unlike(f"a layer has no {name}")
        return layer.self_attn

    def _norms(self, layer: Any) -> Norms:
        """The names of a layer's norms, by place."""
        had = {name for names in NORMS.values() for name in names if name and hasattr(layer, name)}
        found = next((names for names in NORMS.values() if had == {*names} - {None}), None)
        if found is None:
            raise Unlike(f"the norms of a layer are {', '.join(sorted(had)) or 'none of those known'}")
        return found

    def _norm(self, norm: nn.Module) -> Norm:
        """What an RMS norm does, found by asking it about a row of ones."""
        eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
        weight = getattr(norm, "weight", None)
        if eps is None or weight is None:
            raise Unlike("a norm has no epsilon or no weight")
        size = weight.numel()
        ones = torch.ones(size, dtype=torch.float32, device=weight.device)
        gain = norm(ones).float() * (1 + eps) ** 0.5  # the weight, or 1 + weight
        floor = torch.tensor((size * eps) ** 0.5, device=weight.device)
        return Norm((gain * size**0.5).detach(), floor)

    def _head_norms(self, attention: Any) -> tuple[Norm, ...]:
        """Of each head by itself, or of all queries together and all keys together."""
        queries, keys = self._norm(attention.q_norm), self._norm(attention.k_norm)
        if queries.gain.numel() == self.head_size:
            pairs = self.turning.pairs
            gains = [queries.gain[pairs].expand(self.heads, -1), keys.gain[pairs].expand(self.key_heads, -1)]
            return (Norm(torch.cat(gains), queries.floor),)
        scored = self.channel_order[: queries.gain.numel() + keys.gain.numel()]
        if len(scored) != (self.heads + self.key_heads) * self.head_size:
            raise Unlike("its query norm spans neither a head nor all of them")
        parts = torch.cat([queries.gain, keys.gain])[scored].tensor_split((queries.gain.numel(),))
        return tuple(Norm(part[None], norm.floor) for part, norm in zip(parts, (queries, keys), strict=True))

    def _embedding_scale(self) -> float:
        """What rows of the table are multiplied by, by the table itself in its own precision, or by the decoder."""
        own = getattr(self.base.embed_tokens, "embed_scale", None)
        if own is not None:
            return float(own.to(self.dtype))
        return float(getattr(self.config, "embedding_multiplier", None) or 1.0)

    def _score_cap(self, attention: Any) -> float | None:
        """What bounds the scores, if anything; raises Unlike where it is named, but perhaps not used."""
        cap: float | None = getattr(attention, "attn_logit_softcapping", None)
        if cap and hasattr(attention, "q_norm"):
            raise Unlike("it names a bound of its scores beside norms of its queries")
        return cap

    def _gelu(self, mlp: Any) -> bool:
        """Whether the gate is tanh-approximated GELU; raises Unlike where it is neither that nor SiLU."""
        activation = getattr(mlp, "act_fn", getattr(mlp, "activation_fn", None))
        probe = torch.linspace(-4, 4, 33, device=self.device)
        if activation is None:
            raise Unlike("its MLP has no activation")
        if torch.allclose(activation(probe), F.silu(probe), atol=1e-6):
            return False
        if torch.allclose(activation(probe), F.gelu(probe, approximate="tanh"), atol=1e-6):
            return True
        raise Unlike("the gate of its MLP is neither SiLU nor GELU")

    def _order(self) -> Tensor:
        """Rows of the fused query/key/value matrix in our order."""
        size, scored = self.head_size, self.heads + self.key_heads
        rows = torch.arange((scored + self.key_heads) * size, device=self.device).view(-1, size)
        return torch.cat([rows[:scored, self.turning.pairs], rows[scored:]]).flatten()


def _table(embedding: Any) -> Tensor | Quantised:
    if isinstance(embedding, QuantisedEmbedding):
        return embedding.quantised
    if type(embedding) is not nn.Embedding and not hasattr(embedding, "embed_scale"):
        raise Unlike("the embedding is no plain table")
    table: Tensor = embedding.weight.detach()
    return table


def _weight(part: Any) -> Weight:
    return (part.quantised,) if type(part) is QuantisedLinear else part.weight.detach()


def _stacked(parent: Any, names: tuple[str, ...], fused: str = "") -> Matrix:
    """Weights and biases of several matrices, one below the other; some modules hold them like that."""
    parts = [getattr(parent, name, None) for name in ((fused,) if fused and hasattr(parent, fused) else names)]
    if not all(type(part) in (nn.Linear, QuantisedLinear) for part in parts):
        raise Unlike(f"it has no plain matrices {', '.join(names)}")
    weights = [_weight(part) for part in parts]
    lengths = [sum(map(len, weight)) if isinstance(weight, tuple) else len(weight) for weight in weights]
    weight = _below(weights)
    given = [None if part is None else part.bias for part in parts]
    if all(bias is None for bias in given):
        return weight, None
    like = next(bias for bias in given if bias is not None)
    zeros = [like.new_zeros(length) for length in lengths]
    return weight, torch.cat([zero if bias is None else bias.detach() for bias, zero in zip(given, zeros, strict=True)])


def _below(weights: Sequence[Weight]) -> Weight:
    """Matrices one below the other: in blocks where all are, those of one kind together."""
    if not all(isinstance(weight, tuple) for weight in weights):
        return torch.cat([dense(weight) for weight in weights])
    blocks = [part for weight in weights if isinstance(weight, tuple) for part in weight]
    return tuple(stacked([*alike]) for _, alike in groupby(blocks, key=lambda part: part.kind))


def _ordered(weight: Weight, order: Tensor) -> Weight:
    """The rows of a matrix in another order, which keeps to the parts that are of one kind."""
    if not isinstance(weight, tuple):
        return weight[order]
    starts = [0, *accumulate(map(len, weight))]
    pieces = torch.split_with_sizes(order, [len(part) for part in weight])
    return tuple(part.rows(piece - start) for part, piece, start in zip(weight, pieces, starts[:-1], strict=True))


def _scaled(weight: Weight, bias: Tensor | None, factor: float) -> Matrix:
    if factor == 1.0:
        return weight, bias
    return dense(weight) * factor, None if bias is None else bias * factor
