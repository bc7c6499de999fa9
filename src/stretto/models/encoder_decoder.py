"""Drives transformers' encoder–decoders: the encoder as it is, the decoder's own parts over our windows and cache.

A row of the cache begins with a source (encoded.py): of each of its slots a layer holds the key and the value of its
cross-attention. The slots behind hold those of its self-attention, as in any model. Both are read in one step; a slot
of a source is known by the sign of its position. A row without a source reads nothing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from ..errors import InvalidRequest, ModelError, Unsupported
from .attention import attend
from .blocks import CacheShape
from .cache import Cache, KeyForm
from .contract import Ability, Evaluation, Want
from .decoders import HINT, Part, form_of
from .encoded import Source
from .place import Place, visibility
from .sound import fault, sound
from .survey import UNBOUNDED
from .window import RAW, Window

KEPT = 16  # sources that stay encoded, those that were last asked for
PROBE = 11  # tokens that are compared with the module's own forward


class Crossed(Cache):
    """A cache whose rows begin with a source: its slots have the positions -1, -2, … in the blocks."""

    def position(self, row: int, slot: int) -> int:
        found = super().position(row, slot)
        return found if found >= 0 else -1 - found

    def row_positions(self, row: int) -> Tensor:
        found = super().row_positions(row)
        return torch.where(found < 0, -1 - found, found)


class EncoderDecoder:
    """A transformers module as a `Model` whose prompts are sources.

    Raises ModelError where the form of its decoder is not known, or its logits are not those of its own forward.
    """

    abilities = Ability.TREE | Ability.LAYERS | Ability.HIDDEN | Ability.EDITS

    def __init__(self, module: PreTrainedModel, start: Sequence[int] = (), name: str = "") -> None:
        """`start`: the tokens with which every answer begins; none: that of the module's configuration."""
        self.module = module
        self.name = name or type(module).__name__
        self.device: torch.device = module.device
        self.dtype: torch.dtype = module.dtype
        self.form = form_of(module)
        self.layers = len(self.form.blocks)
        self.heads = self.form.heads
        self.reader = Reader(module, start or [module.config.decoder_start_token_id], self.form.length, self.name)
        self.max_positions = min(UNBOUNDED, self.reader.length + self.form.length)
        self._before = True  # whether norms stand before the parts
        with torch.inference_mode():
            nowhere = self.form.embed(torch.zeros(1, dtype=torch.int64, device=self.device))
            self.channels = int(nowhere.shape[-1])
            self.vocabulary = int(self.form.head(nowhere).shape[-1])
            self._settle()

    def new_cache(self, rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Crossed:
        """See `Model.new_cache`. Raises Unsupported for raw keys."""
        if key_form == "raw":
            raise Unsupported(f"{self.name} does not rotate its keys", hint="keep rotated keys")
        size = self.form.size
        return Crossed(CacheShape(self.layers, self.heads, size, size, self.dtype, self.device), rows, slots)

    @torch.inference_mode()
    def evaluate(self, window: Window, cache: Crossed, want: Want = Want()) -> Evaluation:
        """See `Model.evaluate`: raw rows are those of a source, which come first in a row, in windows of one row.

        What is wanted of them is zeros. Raises ModelError where what comes out is not finite.
        """
        if window.embeds is not None:
            return self._read(window, cache, want)
        found, rows = self._evaluate(window, cache, want)
        if not sound(found, want, window.lengths, rows):
            raise fault(self, lambda *again: self._evaluate(*again)[0], window, cache)
        return found

    @torch.inference_mode()
    def embed(self, tokens: Tensor) -> Tensor:
        """Rows of the decoder's input embedding: [...] -> [..., C]."""
        return self.form.embed(tokens)

    @torch.inference_mode()
    def read_out(self, hidden: Tensor) -> Tensor:
        """Final norm and head on the output rows of any layer: [..., C] -> [..., V] float32."""
        norm = self.form.last_norm
        hidden = hidden.to(self.dtype)
        return self.form.head(hidden if norm is None else norm(hidden)).float()

    # -- sources ------------------------------------------------------------------------------

    def _read(self, window: Window, cache: Crossed, want: Want) -> Evaluation:
        """Hold the rows of a source, and evaluate the tokens behind them."""
        size = window.tokens.shape[1]
        count = int((window.tokens[0] == RAW).sum())
        assert len(window.rows) == 1 and bool((window.tokens[0, :count] == RAW).all()), "a source comes first"
        self._hold(window, count, cache)
        behind = Evaluation()
        if count < size:
            rest = replace(
                window,
                tokens=window.tokens[:, count:],
                positions=window.positions[:, count:],
                lengths=[size - count],
                embeds=None,
                hidden=None if window.hidden is None else window.hidden[:, count:],
            )
            behind = self.evaluate(rest, cache, replace(want, logits=bool(want.logits is not False)))
        logits = None
        if want.logits is not False:
            logits = self._beside(behind.logits, count, self.vocabulary, torch.float32)
            if isinstance(want.logits, Tensor):
                logits = logits.gather(1, want.logits[..., None].expand(-1, -1, self.vocabulary))
        return Evaluation(
            logits,
            {at: self._beside(behind.hidden.get(at), count, self.channels, self.dtype) for at in want.hidden},
            {at: self._beside(behind.readout.get(at), count, self.vocabulary, torch.float32) for at in want.readout},
        )

    def _beside(self, found: Tensor | None, count: int, width: int, dtype: torch.dtype) -> Tensor:
        """Zeros for a source, and what was found behind it: [1, T, width]."""
        zeros = torch.zeros(1, count, width, dtype=dtype, device=self.device)
        return zeros if found is None else torch.cat([zeros, found], 1)

    def _hold(self, window: Window, count: int, cache: Crossed) -> None:
        """Append keys and values of the first slots of a window, which are those of a source."""
        assert window.embeds is not None, "a source has rows"
        rows = window.embeds[:, :count].to(self.dtype)
        signed = -1 - window.positions[:, :count]
        place = cache.place(replace(window, tokens=window.tokens[:, :count], positions=signed, lengths=[count]))
        first, last = window.layers or (0, self.layers)
        for layer in range(first, last):
            part = self.form.blocks[layer].cross
            cache.append(layer, self._split(part.key(rows)), self._split(part.value(rows)), place)
        cache.settle(place)

    # -- tokens -------------------------------------------------------------------------------

    def _evaluate(self, window: Window, cache: Crossed, want: Want) -> tuple[Evaluation, Tensor]:
        """What is wanted, and the rows [B, T, C] that leave the last layer that runs."""
        first, last = window.layers or (0, self.layers)
        place = cache.place(window)
        sight = Sight.of(window, cache, place)
        rows = self._enter(window, sight) if first == 0 else window.hidden
        assert rows is not None, f"a window that begins at layer {first} needs hidden rows"
        keep, left = {*want.hidden, *want.readout}, {}
        for layer in range(first, last + 1):
            if layer > first:
                rows = self._run(layer - 1, rows, sight)
            if layer in window.edits and (layer > first or first == 0):
                rows = window.edits[layer](rows)
            if layer in keep:
                left[layer] = rows
        cache.settle(place)
        found = Evaluation(
            hidden={layer: left[layer] for layer in want.hidden},
            readout={layer: self.read_out(left[layer]) for layer in want.readout},
        )
        if want.logits is not False:
            asked = rows
            if isinstance(want.logits, Tensor):
                asked = rows.gather(1, want.logits[..., None].expand(-1, -1, rows.shape[-1]))
            found.logits = self.read_out(asked)
        return found, rows

    def _enter(self, window: Window, sight: Sight) -> Tensor:
        """The rows that enter the first layer."""
        rows, form = self.form.embed(window.tokens), self.form
        if form.positions is not None:
            rows = rows + form.positions[sight.positions.clamp(max=form.length - 1)]
        return rows if form.first_norm is None else form.first_norm(rows)

    def _run(self, layer: int, rows: Tensor, sight: Sight) -> Tensor:
        """One layer, the first one being 0."""
        block, before = self.form.blocks[layer], self._before
        inner = block.own_norm(rows) if before else rows
        new = self._split(block.own.key(inner)), self._split(block.own.value(inner))
        keys, values = sight.cache.append(layer, *new, sight.place)
        own = keys[:, :, sight.least :], values[:, :, sight.least :]
        rows = rows + self._attend(block.own, inner, own, sight.own(block.own.bias))
        rows = rows if before else block.own_norm(rows)
        inner = block.cross_norm(rows) if before else rows
        if sight.most:
            other = keys[:, :, : sight.most], values[:, :, : sight.most]
            rows = rows + self._attend(block.cross, inner, other, sight.cross)
        else:
            rows = rows + block.cross.out(rows.new_zeros(*rows.shape[:2], self.heads * self.form.size))
        rows = rows if before else block.cross_norm(rows)
        inner = block.mlp_norm(rows) if before else rows
        rows = rows + block.mlp(inner)
        return rows if before else block.mlp_norm(rows)

    def _attend(
        self,
        part: Part,
        rows: Tensor,
        held: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        """What rows [B, T, C] read of keys and values; nothing where a mask shuts all of them."""
        read = attend(self._split(part.query(rows)), *held, mask, scale=part.scale)
        out: Tensor = part.out(read.transpose(1, 2).flatten(2))
        return out

    def _split(self, rows: Tensor) -> Tensor:
        """[B, T, H * size] -> [B, H, T, size]."""
        return rows.view(*rows.shape[:2], self.heads, self.form.size).transpose(1, 2)

    # -- what is tried at load ----------------------------------------------------------------

    def _settle(self) -> None:
        """Find out where norms stand. Raises ModelError where neither way gives the module's own logits."""
        source = self.reader.sample()
        tokens = (torch.arange(PROBE, device=self.device)[None] * 31 + 5) % self.vocabulary
        states = self.reader.encode(source)
        theirs = self.module(encoder_outputs=(states[None],), decoder_input_ids=tokens, use_cache=False).logits.float()
        gaps = []
        for self._before in (True, False):
            cache = self.new_cache()
            row, count = cache.open(), len(states)
            self.evaluate(_window(row, torch.full((1, count), RAW), 0, states[None]), cache, Want(logits=False))
            ours = [
                self._evaluate(_window(row, tokens[:, start:end], count + start), cache, Want())[0].logits
                for start, end in ((0, 5), (5, 6), (6, PROBE))
            ]
            gaps.append(float((torch.cat([each for each in ours if each is not None], 1) - theirs).abs().max()))
            gaps[-1] /= float(theirs.abs().max())
            if gaps[-1] < (1e-3 if self.dtype == torch.float32 else 0.1):
                return
        raise ModelError(
            f"{self.name}, driven part by part, differs from its own forward by {min(gaps):.1%}", hint=HINT
        )


@dataclass(slots=True)
class Sight:
    """Which slots the queries of one evaluation read in self-attention, and which in cross-attention."""

    cache: Crossed
    place: Place
    positions: Tensor  # [B, T] of the decoder
    held: Tensor  # [B, S'] the same of the slots from `least` on
    least: int  # slots that every row's source has
    most: int  # slots that some row's source has
    open: Tensor | None  # [B, 1, T, S'] slots from `least` on that are read; None: all
    cross: Tensor | None  # [B, 1, 1, most] of the first `most`; None: all

    @classmethod
    def of(cls, window: Window, cache: Crossed, place: Place) -> Sight:
        held, mask = cache.positions(place), visibility(place, cache)
        counts = (held >= 0).int().argmax(1)  # [B] slots of each row's source
        sizes = counts.tolist()
        least, most = min(sizes), max(sizes)
        behind = counts[:, None]
        mask = None if mask is None else mask[..., least:]
        cross = None
        if least < most:
            slots = torch.arange(held.shape[1], device=held.device)
            own = (slots[least:] >= behind)[:, None, None]
            mask = own if mask is None else mask & own
            cross = (slots[:most] < behind)[:, None, None]
        return cls(cache, place, window.positions - behind, held[:, least:] - behind, least, most, mask, cross)

    def own(self, bias: Tensor | None) -> Tensor | None:
        """The mask of self-attention, with what is added by distance [D, H], if anything."""
        if bias is None:
            return self.open
        apart = (self.positions[:, :, None] - self.held[:, None]).clamp(0, len(bias) - 1)  # [B, T, S']
        added = functional.embedding(apart, bias).permute(0, 3, 1, 2)  # [B, H, T, S']
        return added if self.open is None else added.masked_fill(~self.open, -torch.inf)


class Reader:
    """The encoder of a module; see `encoded.SourceReader`."""

    def __init__(self, module: PreTrainedModel, start: Sequence[int], room: int, name: str) -> None:
        config: Any = module.config
        self.start = list(start)
        self.encoder: Any = module.get_encoder()
        self.hears = module.main_input_name != "input_ids"
        named = ("max_source_positions",) if self.hears else ("max_position_embeddings",)
        self.length = next((int(length) for each in named if (length := getattr(config, each, None))), UNBOUNDED)
        self._name, self._room, self._device, self._dtype = name, room, module.device, module.dtype
        table = None if self.hears else self.encoder.get_input_embeddings()
        self._vocabulary = 0 if table is None else len(table.weight)
        self._common = not self.hears and getattr(config, "share_encoder_decoder_embeddings", True)
        self._known: dict[tuple[int, ...], Source] = {}  # those first that were not asked for longest
        self._bins = getattr(config, "num_mel_bins", 0)
        self._frames = self.length * 2 if self.hears else 0

    def read(self, source: Sequence[int] | Tensor, start: Sequence[int] = ()) -> tuple[list[int], list[Source]]:
        """See `SourceReader.read`. Where source and answer have unlike vocabularies, the start stands for a source."""
        follow = [*self.start, *start]
        if len(follow) >= self._room:
            raise InvalidRequest(
                f"an answer that begins with {len(follow)} tokens leaves none of {self._room} positions",
                hint="begin it with fewer",
            )
        found = self._source(source)
        shown = list(source) if self._common and not isinstance(source, Tensor) else follow[:1] * len(found)
        return [*shown, *follow], [found]

    def encode(self, source: Sequence[int] | Tensor) -> Tensor:
        """What leaves the encoder: [n, C]."""
        given = source if isinstance(source, Tensor) else torch.tensor(list(source))
        given = given.to(self._device, self._dtype if self.hears else None)
        states: Tensor = self.encoder(given[None], return_dict=True).last_hidden_state[0]
        return states

    def sample(self) -> list[int] | Tensor:
        """A source to try."""
        if not self.hears:
            return [(at * 7 + 3) % self._vocabulary for at in range(6)]
        return torch.randn(self._bins, self._frames, generator=torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def _source(self, source: Sequence[int] | Tensor) -> Source:
        self._require(source)
        if isinstance(source, Tensor):
            return Source(self.encode(source).clone(), 0, room=self._room)
        key = tuple(source)
        found = self._known.pop(key, None) or Source(self.encode(source).clone(), 0, room=self._room)
        self._known[key] = found
        if len(self._known) > KEPT:
            self._known.pop(next(iter(self._known)))
        return found

    def _require(self, source: Sequence[int] | Tensor) -> None:
        """Raise InvalidRequest for what the encoder does not read."""
        if isinstance(source, Tensor) != self.hears:
            wanted = "features: Sourced(features)" if self.hears else "a text, or token ids"
            raise InvalidRequest(f"{self._name} reads no such source", hint=f"give {wanted}")
        if isinstance(source, Tensor):
            if tuple(source.shape) != (self._bins, self._frames):
                raise InvalidRequest(
                    f"features of shape {list(source.shape)}, and {self._name} hears {[self._bins, self._frames]}",
                    hint="pad or cut them, as its feature extractor does",
                )
            return
        wrong = next((token for token in source if not 0 <= token < self._vocabulary), None)
        if wrong is not None:
            hint = f"ids run from 0 to {self._vocabulary - 1}"
            raise InvalidRequest(f"token {wrong} is outside of the vocabulary of sources", hint=hint)
        if len(source) > self.length:
            raise InvalidRequest(
                f"the source has {len(source)} tokens, the encoder of {self._name} {self.length} positions",
                hint="shorten it",
            )


def _window(row: int, tokens: Tensor, start: int, embeds: Tensor | None = None) -> Window:
    """Tokens of one row [1, T] from a position on."""
    size = tokens.shape[1]
    positions = torch.arange(start, start + size, device=tokens.device)[None]
    return Window([row], tokens, positions, [size], embeds=embeds)
