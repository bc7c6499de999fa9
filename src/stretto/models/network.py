"""Drives the decoder layers of any transformers causal LM with our window, mask and cache.

The module's own public forward runs, so embedding, scaling, rotary tables, norms, head and soft-capping are all
the module's; between its layers stands a visitor (hooks.py) that skips layers, puts rows in, takes rows out,
and answers attention from our cache. There is no code for any one family.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from ..errors import ModelError, Unsupported
from .agreement import gap
from .attention import attend, probabilities, shares
from .blocks import CacheShape
from .cache import Cache, KeyForm
from .contract import NOTHING, Ability, Evaluation, Want
from .hooks import AttentionCall, Hooks, VisitedCache, cache_argument
from .place import Place, Reach, visibility
from .sound import fault, sound
from .survey import HINT, Anatomy, Rotary, decoder_layers, max_positions, serving, survey
from .window import RAW, Window

if TYPE_CHECKING:
    from .gazes import Regard


class Network:
    """A transformers module as a `Model`.

    The module stays whole: called by itself it does what it always did. Raises ModelError where its form
    cannot be driven, or where driving it does not give the logits of its own forward.
    """

    def __init__(self, module: PreTrainedModel, name: str = "") -> None:
        layers = decoder_layers(module)
        self.module = module
        self.name = name or type(module).__name__
        self.layers = len(layers)
        self.max_positions = max_positions(module)
        self.device: torch.device = module.device
        self.dtype: torch.dtype = module.dtype
        self._cache_argument = cache_argument(module)
        self._hooks = Hooks(module, layers)
        self._open = torch.zeros(1, 1, 1, 1, device=self.device)  # a 4-D mask: the module builds none
        try:
            with torch.inference_mode(), serving(module):
                self.anatomy: Anatomy = survey(module, self._hooks, self.layers)
                self.vocabulary = self.anatomy.vocabulary
                self.channels = self.anatomy.channels
                self.heads = int(module.config.get_text_config().num_attention_heads)
                self.abilities = Ability.ALL
                if not self.anatomy.raw_keys:
                    self.abilities &= ~Ability.RAW_KEYS
                if not self._takes_rows():
                    self.abilities &= ~Ability.EMBEDS
                self._compare_with_module()
        except BaseException:
            self._hooks.remove()
            raise

    def new_cache(self, rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Cache:
        """An empty cache of this model's shape. Raises Unsupported where raw keys cannot be had."""
        if key_form == "raw" and not self.anatomy.raw_keys:
            raise Unsupported(f"{self.name} rotates its keys in a way of its own", hint="keep rotated keys")
        shape = CacheShape(self.layers, *self.anatomy.widest, self.dtype, self.device)
        return Cache(shape, rows, slots, key_form)

    @torch.inference_mode()
    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        """See `Model.evaluate`. Logits are read from the last layer that runs.

        Hidden rows of layer l are what leaves it, edits included, before the final norm. Raises ModelError where
        what comes out is not finite.
        """
        found, rows = self._evaluate(window, cache, want)
        if not sound(found, want, window.lengths, rows):
            raise fault(self, lambda *again: self._evaluate(*again)[0], window, cache)
        return found

    def _evaluate(self, window: Window, cache: Cache, want: Want) -> tuple[Evaluation, Tensor]:
        """What is wanted, and the rows [B, T, C] that leave the last layer that runs."""
        place = cache.place(window)
        visit = _Visit(self, window, cache, place, want)
        whole = want.logits is True
        output = self._call(self.module if whole else self.module.base_model, visit, window)
        cache.settle(place)
        found = Evaluation(
            logits=output.logits.float() if whole else None,
            hidden={layer: visit.left[layer] for layer in want.hidden},
            readout={layer: self.read_out(visit.left[layer]) for layer in want.readout},
            attention=visit.attention,
        )
        if isinstance(want.logits, Tensor):
            last = visit.left[visit.last]  # [B, T, C]
            found.logits = self.read_out(last.gather(1, want.logits[..., None].expand(-1, -1, last.shape[-1])))
        return found, visit.left[visit.last]

    @torch.inference_mode()
    def embed(self, tokens: Tensor) -> Tensor:
        """Rows of the module's input embedding: [...] -> [..., C].

        What its forward does to them afterwards (scaling in Granite, learned positions in GPT-2) happens to
        the raw rows of a window as well: a raw row `embed(t)` is exactly token t.
        """
        rows: Tensor = self.module.get_input_embeddings()(tokens)
        return rows

    @torch.inference_mode()
    def read_out(self, hidden: Tensor) -> Tensor:
        """Final norm and head on the output rows of any layer: [..., C] -> [..., V] float32."""
        flat = hidden.reshape(1, -1, hidden.shape[-1]).to(self.dtype)
        nowhere = torch.zeros(flat.shape[:2], dtype=torch.int64, device=self.device)
        output = self._forward(self.module, _Passage(flat), nowhere, input_ids=nowhere)
        logits: Tensor = output.logits.float()
        return logits.reshape(*hidden.shape[:-1], -1)

    def _call(self, part: nn.Module, visit: _Visit, window: Window) -> Any:
        tokens = window.tokens
        if window.embeds is None or visit.first > 0:
            inputs = {"input_ids": tokens if visit.first == 0 else tokens.clamp(min=0)}
        else:
            rows = self.embed(tokens.clamp(min=0))
            raw = (tokens == RAW)[..., None]
            inputs = {"inputs_embeds": torch.where(raw, window.embeds.to(rows.dtype), rows)}
        return self._forward(part, visit, window.positions, **inputs)

    def _forward(self, part: nn.Module, visitor: _Visit | _Passage, positions: Tensor, **inputs: Tensor) -> Any:
        with self._hooks.visited_by(visitor):
            return part(
                **inputs,
                position_ids=positions,
                attention_mask=self._open,
                use_cache=True,
                return_dict=True,
                **{self._cache_argument: VisitedCache(visitor)},
            )

    def _takes_rows(self) -> bool:
        """Whether a row that is no token's may enter: some modules ask of each row which token it is of."""
        cache = self.new_cache(slots=1)
        window = Window.chain([cache.open()], [[0]], [0], self.device)
        window.embeds = self.embed(window.tokens) / 2 + 0.01
        window.tokens = torch.full_like(window.tokens, RAW)
        try:
            self._evaluate(window, cache, NOTHING)
        except Exception:  # whatever a module says to a row that it does not know
            return False
        return True

    def _compare_with_module(self) -> None:
        """Raises ModelError where the logits of probing tokens are not those of the module's own forward."""
        found = gap(self, self.module)
        if not found < (1e-3 if self.dtype == torch.float32 else 0.1):
            raise ModelError(
                f"{self.name}, driven layer by layer, differs from its own forward by {found:.1%}", hint=HINT
            )


class _Visit:
    """What one evaluation does in each layer."""

    def __init__(self, network: Network, window: Window, cache: Cache, place: Place, want: Want) -> None:
        self.first, self.last = window.layers or (0, network.layers)
        self.left: dict[int, Tensor] = {}  # layer -> rows that left it, for the layers wanted
        self.attention: dict[tuple[int, int], Tensor] = {}
        self._anatomy = network.anatomy
        self._window, self._cache, self._place = window, cache, place
        self._keep = {*want.hidden, *want.readout, self.last}
        self._heads = want.attention
        self._masks: dict[Reach, Tensor | None] = {}  # by reach
        self._tables: dict[Rotary, tuple[Tensor, Tensor]] = {}  # of all cached positions
        self._index = 0  # the layer that runs
        self._window_table: tuple[Tensor, Tensor] | None = None
        assert all(self.first <= layer <= self.last for layer in self._keep), "rows wanted of layers that do not run"
        assert all(self.first <= layer < self.last for layer, _ in self._heads), "attention of layers that do not run"

    def layer(self, index: int, run: Callable[[Tensor], Tensor], hidden: Tensor, arguments: dict[str, Any]) -> Tensor:
        if index == 0 and self.first == 0:
            hidden = self._leave(0, hidden)
        if not self.first <= index < self.last:
            return hidden
        if index == self.first > 0:
            assert self._window.hidden is not None, f"a window that begins at layer {index} needs hidden rows"
            hidden = self._window.hidden.to(hidden.dtype)
            self.left[index] = hidden
        self._index = index
        self._window_table = arguments.get("position_embeddings")
        return self._leave(index + 1, run(hidden))

    def _leave(self, layer: int, rows: Tensor) -> Tensor:
        if layer in self._window.edits:
            rows = self._window.edits[layer](rows)
        if layer in self._keep:
            self.left[layer] = rows
        return rows

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        rotary = self._anatomy.rotaries[self._index]
        if rotary is None or self._cache.key_form == "rotated":
            return self._append(keys, values)
        assert self._window_table is not None
        raw, values = self._append(rotary.undo(keys, self._window_table), values)
        if rotary not in self._tables:
            self._tables[rotary] = rotary.table(self._cache.positions(self._place))
        return rotary.redo(raw, self._tables[rotary]), values

    def _append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep keys and values, and have all that are kept; in a layer of fewer heads or smaller ones, zeros beside."""
        shape, widest = self._anatomy.shapes[self._index], self._anatomy.widest
        if shape == widest:
            return self._cache.append(self._index, keys, values, self._place)
        heads, key_size, value_size = shape
        most, *sizes = (whole - own for whole, own in zip(widest, shape, strict=True))
        keys, values = (
            functional.pad(part, (0, size, 0, 0, 0, most)) for part, size in zip((keys, values), sizes, strict=True)
        )
        keys, values = self._cache.append(self._index, keys, values, self._place)
        return keys[:, :heads, :, :key_size], values[:, :heads, :, :value_size]

    def attend(self, call: AttentionCall) -> Tensor:
        mask = self._mask(self._anatomy.reaches[self._index])
        regard = None if self._window.regard is None else self._window.regard(self._index)
        if regard is not None:
            return self._regarded(call, mask, regard)
        shared = call.query.shape[1] // call.keys.shape[1]
        if call.softcap is None and call.sinks is None:
            batch, heads, size, width = call.query.shape
            asking = call.query.reshape(batch, heads // shared, shared, size, width).transpose(2, 3).flatten(2, 3)
            read = self._cache.read(self._index, asking, call.keys, call.values, call.scale)
            if read is not None:
                own = read.to(call.query.dtype).view(batch, heads // shared, size, shared, -1)
                return own.transpose(2, 3).reshape(batch, heads, size, -1)
        for layer, head in self._heads:
            if layer == self._index:
                query, keys = call.query[:, head, None], call.keys[:, head // shared, None]
                sink = None if call.sinks is None else call.sinks[head]
                shares = probabilities(query, keys, mask, scale=call.scale, softcap=call.softcap, sinks=sink)
                self.attention[layer, head] = shares[:, 0]
        return attend(
            call.query, call.keys, call.values, mask, scale=call.scale, softcap=call.softcap, sinks=call.sinks
        )

    def _regarded(self, call: AttentionCall, mask: Tensor | None, regard: Regard) -> Tensor:
        """What the queries read where scores are changed. Raises Unsupported where queries may read nothing at all."""
        if call.sinks is not None or self._heads:
            raise Unsupported("attention with sinks, or that is told, is not changed", hint="leave a steer out")
        shared, places = call.query.shape[1] // call.keys.shape[1], self._cache.positions(self._place)
        keys, values = (each.repeat_interleave(shared, 1) for each in (call.keys, call.values))
        shut = None if mask is None else torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -torch.inf)
        read = shares(
            call.query * call.scale,
            keys,
            shut,
            call.softcap,
            change=lambda found: regard(found, self._window.positions, places),
        )
        return read.to(values.dtype) @ values

    def _mask(self, reach: Reach) -> Tensor | None:
        if reach not in self._masks:
            self._masks[reach] = visibility(self._place, self._cache, reach)
        return self._masks[reach]


class _Passage:
    """Carries given rows past all layers, straight to the final norm and head."""

    def __init__(self, hidden: Tensor) -> None:
        self._hidden = hidden

    def layer(self, index: int, run: Callable[[Tensor], Tensor], hidden: Tensor, arguments: dict[str, Any]) -> Tensor:
        return self._hidden

    def update(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError("no layer runs")

    def attend(self, call: AttentionCall) -> Tensor:
        raise AssertionError("no layer runs")
