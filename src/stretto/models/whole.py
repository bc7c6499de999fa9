"""Runs a transformers module as it is, from the state that it hands back: for what cannot be driven layer by layer.

Recurrent networks and hybrids of them with attention hold a state of a whole row (convolutions, state spaces, linear
attention, keys and values); others have an attention of their own (ALiBi, heads in one matrix, an indexer of keys). Of
such a module nothing is taken apart: a row is its tokens and a few of the module's own states (recurrent.py), a window
is a call of its forward, and each row is called by itself. That makes chains; trees need the insides.

Some modules forget their state, or a part of it, where more than one token follows it: these get their tokens one by
one. It is tried at load, and compared with the module's forward over a whole text.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from ..errors import ModelError, Unsupported
from .cache import KeyForm
from .contract import Ability, Evaluation, Model, Want
from .network import Network
from .recurrent import EARLIER, Recurrent, bytes_of, tensors_in
from .sound import fault, sound
from .survey import HINT, max_positions, serving
from .window import Window

State = dict[str, Any]  # what a module hands back beside its logits, by the names under which it takes it

MOST = 16  # tokens that are read once more together with a window; more are read before it, and their state is kept
CHUNK = 32  # tokens of a module's own chunks, off a GPU: without its kernels a token costs as much as its chunk is long
PROBE = 24  # tokens of the text that is compared
CUTS = (0, 9, 10, 13, 14, PROBE)  # where it is cut
GUESSES = 4  # wrong tokens behind each second piece, which are taken back
LARGE = 10.0  # what a state is made as large as, so that it shows whether it is read


class Whole:
    """A transformers module as a `Model` that evaluates chains.

    Raises ModelError where a text in pieces does not get the logits of the module's forward over the whole of it.
    """

    abilities = Ability.NONE

    def __init__(self, module: PreTrainedModel, name: str = "") -> None:
        config = module.config.get_text_config()
        self.module = module
        self.name = name or type(module).__name__
        self.layers = int(getattr(config, "num_hidden_layers", None) or 1)
        self.heads = int(getattr(config, "num_attention_heads", None) or 1)
        self.max_positions = max_positions(module)
        self.device: torch.device = module.device
        self.dtype: torch.dtype = module.dtype
        self._accepted = inspect.signature(module.forward).parameters
        self._bytes = (0.0, 0.0)  # of a state: for each token, and beside
        self._single = False  # tokens follow a state one by one
        parts = [part for part in module.modules() if isinstance(getattr(part, "chunk_size", None), int)]
        self._chunked: list[Any] = parts if self.device.type == "cpu" else []  # the parts whose chunks are made short
        with torch.inference_mode(), serving(module):
            self.channels = int(self.embed(torch.zeros(1, dtype=torch.int64, device=self.device)).shape[-1])
            self._settle()

    def new_cache(self, rows: int = 1, slots: int = 256, key_form: KeyForm = "rotated") -> Recurrent:
        """See `Model.new_cache`. Raises Unsupported for raw keys."""
        if key_form == "raw":
            raise Unsupported(f"{self.name} shows no keys", hint="keep rotated keys")
        return Recurrent(self._needs)

    def embed(self, tokens: Tensor) -> Tensor:
        """Rows of the module's input embedding: [...] -> [..., C]."""
        rows: Tensor = self.module.get_input_embeddings()(tokens)
        return rows

    def read_out(self, hidden: Tensor) -> Tensor:
        """Raises Unsupported: the last norm and the head cannot be had by themselves."""
        raise Unsupported(f"{self.name} runs whole, so no row can be read out", hint="use a model that shows its rows")

    @torch.inference_mode()
    def evaluate(self, window: Window, cache: Recurrent, want: Want = Want()) -> Evaluation:
        """See `Model.evaluate`. Raises Unsupported for what is no chain of tokens that follows its row, or wants more
        than logits; ModelError where these are no numbers."""
        if not _plain(window, want):
            raise Unsupported(f"{self.name} runs whole: it evaluates chains of tokens only", hint="draft a chain")
        done = [self._row(window, r, cache, self._count(window, r, want)) for r in range(len(window.rows))]
        for _, append in done:  # all rows or, where one has failed, none
            append()
        read = [logits for logits, _ in done]
        found = _joined(read, window, want)
        ends = torch.stack([row[-1] for row in read])[:, None]  # [B, 1, V]
        checked = ends if found is None else found
        if not sound(Evaluation(checked), want if found is not None else Want(), window.lengths, ends):
            raise fault(self, self.evaluate, window, cache)
        return Evaluation(logits=found)

    # -- one row ------------------------------------------------------------------------------

    def _count(self, window: Window, r: int, want: Want) -> int:
        """How many of a row's last slots have logits that are read, one at least."""
        if isinstance(want.logits, Tensor):
            first = min(int(want.logits[r].min()), window.lengths[r] - 1)
            return window.lengths[r] - first
        return window.lengths[r] if want.logits else 1

    def _row(self, window: Window, r: int, cache: Recurrent, count: int) -> tuple[Tensor, Callable[[], None]]:
        """Evaluate one row's slots: the logits of the last `count`, [count, V]; and what lets the row have them."""
        row, length = window.rows[r], window.lengths[r]
        tokens, positions = window.tokens[r, :length].tolist(), window.positions[r, :length].tolist()
        start = cache.length(row)
        if positions != [*range(start, start + length)]:
            raise Unsupported(f"{self.name} runs whole: tokens stand one behind another", hint="leave no gaps")
        state, unread = cache.state(row)
        again = len(unread)
        if len(unread) > MOST:
            _, states = self._run(state, unread, start - len(unread), 1)
            cache.read(row, states[-1])
            state, unread = states[-1], []
        logits, states = self._run(state, [*unread, *tokens], start - len(unread), count)
        return logits, partial(cache.append, row, tokens, positions, states[-length:], again)

    def _run(self, state: State | None, tokens: list[int], start: int, count: int) -> tuple[Tensor, list[State]]:
        """Let tokens follow a state, the first one at position `start`: the last logits, and states, the last last."""
        logits: list[Tensor] = []
        states: list[State] = []
        size = 1 if self._single and state is not None else len(tokens)
        for at in range(0, len(tokens), size):
            count_here = min(size, max(1, count - (len(tokens) - at - size)))
            found, state = self._call(state, tokens[at : at + size], start + at, count_here)
            logits.append(found)
            states.append(state)
        return torch.cat(logits)[-count:], states

    def _call(self, state: State | None, tokens: list[int], start: int, count: int) -> tuple[Tensor, State]:
        """The module's forward: the logits of the last `count` tokens [count, V] float32, and the state after them."""
        inputs: dict[str, Any] = {} if state is None else _copied(state)
        inputs["input_ids"] = torch.tensor([tokens], device=self.device)
        if "position_ids" in self._accepted:
            inputs["position_ids"] = torch.arange(start, start + len(tokens), device=self.device)[None]
        if "logits_to_keep" in self._accepted:
            inputs["logits_to_keep"] = count
        with self._chunks_of(min(len(tokens), CHUNK)):
            output = self.module(**inputs, use_cache=True, return_dict=True)
        after = {name: each for name, each in output.items() if name in self._accepted and each is not None}
        after.pop("logits", None)
        if not after:
            raise ModelError(f"{self.name} hands back no state from which a text goes on", hint=HINT)
        return output.logits[0, -count:].float(), after

    @contextmanager
    def _chunks_of(self, size: int) -> Iterator[None]:
        """Within this block texts are cut into chunks of so many tokens: a matter of cost, and of rounding."""
        before = [part.chunk_size for part in self._chunked]
        try:
            for part, own in zip(self._chunked, before, strict=True):
                part.chunk_size = min(own, size)
            yield
        finally:
            for part, own in zip(self._chunked, before, strict=True):
                part.chunk_size = own

    def _needs(self, slots: int) -> int:
        """Bytes of a row of so many tokens: its states, and the one that is being made."""
        each, beside = self._bytes
        return int((EARLIER + 3) * (each * slots + beside))

    # -- what is tried at load ----------------------------------------------------------------

    def _settle(self) -> None:
        """Find out whether tokens may follow a state together. Raises ModelError where neither way is right."""
        embedding = self.module.get_input_embeddings()
        embedded, padding = int(embedding.weight.shape[0]), getattr(embedding, "padding_idx", None)
        tokens = [(place * 31 + 5) % embedded for place in range(2 * PROBE + 1)]
        tokens = [token for token in tokens if token != padding]  # a row of zeros, of which scores are equal
        texts = tokens[:PROBE], tokens[PROBE : 2 * PROBE]
        theirs = [self._whole(each) for each in texts]  # [PROBE, V] each
        self.vocabulary = int(theirs[0].shape[-1])
        gap = torch.inf
        chunks = (self._chunked, []) if self._chunked else ([],)
        for single, chunked in product((False, True), chunks):
            self._single, self._chunked = single, chunked
            try:
                gap = min(gap, max(self._gap(texts, theirs), 0.0 if single else self._forgets(texts[0])))
            except Exception:  # a module that takes one token at a time may raise anything over more
                if single and not chunked:
                    raise
            if gap < (1e-3 if self.dtype == torch.float32 else 0.1):
                self._measure(texts[0])
                return
        raise ModelError(
            f"{self.name} differs from its own forward by {gap:.1%} where a text comes in pieces", hint=HINT
        )

    def _whole(self, tokens: list[int]) -> Tensor:
        output = self.module(input_ids=torch.tensor([tokens], device=self.device), use_cache=False, return_dict=True)
        logits: Tensor = output.logits[0].float()
        return logits

    def _gap(self, texts: tuple[list[int], list[int]], theirs: list[Tensor]) -> float:
        """How far two texts, read by turns in pieces, with wrong guesses taken back, are from their whole readings."""
        cache = self.new_cache()
        rows = [cache.open() for _ in texts]
        ours: tuple[list[Tensor], list[Tensor]] = [], []
        for number, (start, end) in enumerate(pairwise(CUTS)):
            for row, text, other, found in zip(rows, texts, reversed(texts), ours, strict=True):
                guesses = other[: GUESSES * (number % 2)]
                window = Window.chain([row], [[*text[start:end], *guesses]], [start], self.device)
                logits, append = self._row(window, 0, cache, window.lengths[0])
                append()
                found.append(logits[: end - start])
                cache.truncate(row, end)
        return max(_distance(torch.cat(mine), their) for mine, their in zip(ours, theirs, strict=True))

    def _forgets(self, text: list[int]) -> float:
        """How far tokens that follow a large state together are from the same one by one: some modules forget it.

        Large, since a state of few tokens may weigh too little to be missed.
        """
        _, state = self._call(None, text[: CUTS[1]], 0, 1)
        state = _copied(state)
        kept = {id(each) for each in _keys_and_values(state)}
        for each in tensors_in(state):
            if id(each) not in kept and each.is_floating_point() and 0 < (size := float(each.abs().max())) < LARGE:
                each.mul_(LARGE / size)
        start, later = CUTS[1], text[CUTS[1] : CUTS[3]]
        together, _ = self._call(state, later, start, len(later))
        single = []
        for at, token in enumerate(later):
            logits, state = self._call(state, [token], start + at, 1)
            single.append(logits)
        return _distance(together, torch.cat(single))

    def _measure(self, text: list[int]) -> None:
        """What states take."""
        few, many = (bytes_of([self._call(None, text[:size], 0, 1)[1]]) for size in (CUTS[1], PROBE))
        each = max(0.0, (many - few) / (PROBE - CUTS[1]))
        self._bytes = each, max(0.0, few - each * CUTS[1])


def driven(module: PreTrainedModel, name: str = "") -> tuple[Model, str]:
    """A module driven layer by layer or else run whole, and why no better. Raises ModelError where both are wrong."""
    try:
        return Network(module, name), ""
    except ModelError as refusal:
        because = str(refusal).partition(" (hint: ")[0]
    try:
        return Whole(module, name), because
    except ModelError as refusal:
        other = str(refusal).partition(" (hint: ")[0].removeprefix(name or type(module).__name__)
        raise ModelError(f"{because}; run whole, it{other}", hint=HINT) from refusal


def _plain(window: Window, want: Want) -> bool:
    """Whether a window is nothing but chains of tokens through all layers, and only logits are wanted."""
    return (
        window.visible is None
        and not window.everyone
        and window.embeds is None
        and window.layers is None
        and not window.edits
        and not window.given
        and not want.inside
    )


def _joined(read: list[Tensor], window: Window, want: Want) -> Tensor | None:
    """The logits that are wanted, [B, n, V], of those of the last slots of each row."""
    if want.logits is False:
        return None
    size = window.tokens.shape[1]
    whole = read[0].new_zeros(len(read), size, read[0].shape[-1])
    for r, (row, length) in enumerate(zip(read, window.lengths, strict=True)):
        whole[r, length - len(row) : length] = row
    if isinstance(want.logits, Tensor):
        return whole.gather(1, want.logits[..., None].expand(-1, -1, whole.shape[-1]))
    return whole


def _keys_and_values(state: State) -> list[Tensor]:
    """Those that are never written in place: longer ones are new tensors."""
    layers = [layer for each in state.values() for layer in getattr(each, "layers", ())]
    held = [(layer.keys, layer.values) for layer in layers if isinstance(layer, DynamicLayer)]
    return [each for pair in held for each in pair if each is not None]


def _copied(state: State) -> State:
    """A state that a module may write into."""
    return deepcopy(state, {id(each): each for each in _keys_and_values(state)})


def _distance(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of logits, as a share of the largest; infinite where there is something but numbers."""
    found = float((ours - theirs).abs().max() / theirs.abs().max())
    return torch.inf if math.isnan(found) else found
