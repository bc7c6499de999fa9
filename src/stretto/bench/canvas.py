"""Masked-diffusion decoding beside a plain sampler: the same prompts and orders, whole answers, in turn.

Answers run to their full length on both sides. Those of ours that do what a plain way does must write what it writes to
each prompt alone. Beside others a row may come out otherwise where two tokens are all but as likely, as sums of another
shape end in other bits: each side is held against itself alone as well, so that it is plain whose answer changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from time import perf_counter
from typing import ClassVar

import torch
from transformers import LlamaConfig, PreTrainedModel

from ..engine import Engine
from ..models.load import load
from ..models.masked import MaskedModel, Masking
from .results import Spread
from .sampler import Sampler, Settings, Written, module_of
from .stored import Stored
from .subject import driven, encode, seeded
from .tasks import select

Prompt = list[int]
Progress = Callable[[], object]

RANDOM = "random-masked"  # 8.9 million random weights: 256 wide, 8 layers, 4,096 tokens; only its speed means anything
SHORTEST, LONGEST = 16, 112  # tokens of the random network's prompts
BLOCK, LEAST = 32, 0.9  # Fast-dLLM's
PLAIN, DUAL, SURE = "plain sampler", "plain, dual cache", "plain, dual cache, threshold"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to write answers side by side."""

    name: str
    write: Callable[[Sequence[Prompt]], Written]
    same: str = ""  # the plain way whose tokens it must write
    ours: bool = False


@dataclass(slots=True)
class WayResult:
    """One contestant in one column; over all prompts."""

    name: str
    batch: int
    seconds: list[float]  # of each repeat
    speed: Spread  # tokens per second
    ratios: dict[str, Spread]  # plain way -> times its speed, of the same repeat
    rounds: int = 0
    token_forwards: int = 0
    same: str = ""
    ours: bool = False
    differing: int = 0  # prompts to which it writes other tokens than `same` alone
    unsteady: int = 0  # prompts to which it writes other tokens in this batch than alone

    @property
    def wrong(self) -> bool:
        """Whether it is ours, and its tokens differ from what they must be."""
        return self.ours and bool(self.differing or self.unsteady)


@dataclass(slots=True)
class Comparison(Stored):
    """Everything `stretto bench canvas` found."""

    COMMAND: ClassVar[str] = "stretto bench canvas"
    ENTRY: ClassVar[str] = "contestants"

    contestants: list[WayResult] = field(default_factory=list)


@dataclass(slots=True)
class Pair:
    """One model for both sides: other weights in memory, the same numbers."""

    engine: Engine
    sampler: Sampler


def load_pair(name: str, seed: int, dtype: str = "float32", device: str = "auto") -> Pair:
    """A masked-diffusion checkpoint, or `random-masked`. Raises what loading raises, Unsupported for block-causal."""
    if name == RANDOM:
        module = random_network(seed)
        masking = Masking(module.config.vocab_size - 1)
        return Pair(Engine(MaskedModel(driven(copy.deepcopy(module)), masking)), Sampler(module, masking))
    told = load(name, dtype=dtype, device=device)
    return Pair(Engine(told.model, told.tokenizer), Sampler(*module_of(name, told.model.dtype, told.model.device)))


def random_network(seed: int, **settings: int) -> PreTrainedModel:
    """A LLaDA's shape with random weights. Its head is scaled, so that it is sure of some positions and not of others:
    how many the threshold fills in a step means nothing, only that both sides fill the same."""
    shape = {"vocab_size": 4096, "hidden_size": 256, "num_hidden_layers": 8, "num_attention_heads": 4} | settings
    config = LlamaConfig(
        **shape, intermediate_size=3 * shape["hidden_size"], max_position_embeddings=1024, tie_word_embeddings=False
    )
    module = seeded(config, seed)
    module.get_output_embeddings().weight.mul_(16)
    return module


def prompts(pair: Pair, count: int, seed: int, tasks: Sequence[str], data: Path | None) -> list[Prompt]:
    """Questions of the tasks in turn; random tokens, of lengths spread evenly, where there is no tokenizer."""
    engine = pair.engine
    if engine.tokenizer is None:
        chance = torch.Generator().manual_seed(seed)
        sizes = torch.linspace(SHORTEST, LONGEST, count).long()[torch.randperm(count, generator=chance)].tolist()
        known = [token for token in range(engine.model.vocabulary) if token != pair.sampler.masking.mask]
        return [[known[at] for at in torch.randint(0, len(known), (size,), generator=chance)] for size in sizes]
    sources = [task.exercises(seed) for task in select(tasks, data) if not task.absent]

    def asked() -> Iterator[Prompt]:
        for exercise in chain.from_iterable(zip(*sources, strict=False)):
            yield encode(engine, exercise)

    return list(islice(asked(), count))


def ways_of(pair: Pair, length: int) -> list[Way]:
    """The plain ways, and ours. Dual caches of shifted models have no plain way of the same tokens."""
    plain = {PLAIN: Settings(length, BLOCK)}
    if not pair.sampler.masking.shift:
        plain[DUAL] = Settings(length, BLOCK, dual=True)
        plain[SURE] = Settings(length, BLOCK, LEAST, dual=True)
    one, many = f"low-confidence+blocks({BLOCK})", f"threshold({LEAST})+blocks({BLOCK})"
    ours = [(one, PLAIN), (f"{one}+dual-cache", DUAL), (f"{many}+dual-cache", SURE)]
    found = [Way(name, partial(pair.sampler.write, settings=each)) for name, each in plain.items()]
    for method, same in ours:
        write = partial(_ours, pair.engine, method, length)
        found.append(Way(method, write, same if same in plain else "", ours=True))
    return found


def _ours(engine: Engine, method: str, length: int, rows: Sequence[Prompt]) -> Written:
    answers = engine.generate(list(rows), method, max_new_tokens=length, end_tokens=())
    counters = [answer.counters for answer in answers]
    return Written(
        [answer.tokens for answer in answers],
        max(each.rounds for each in counters),
        sum(each.token_forwards for each in counters),
    )


def alone(
    ways: Sequence[Way], asked: Sequence[Prompt], *, progress: Progress = lambda: None
) -> dict[str, list[list[int]]]:
    """What each writes to each prompt by itself: what its batches are held against. Also a warm-up."""
    found: dict[str, list[list[int]]] = {}
    for way in ways:
        found[way.name] = []
        for prompt in asked:
            found[way.name] += way.write([prompt]).tokens
            progress()
    return found


def measure(
    ways: Sequence[Way],
    asked: Sequence[Prompt],
    batch: int,
    repeats: int,
    right: dict[str, list[list[int]]],
    *,
    progress: Progress = lambda: None,
) -> list[WayResult]:
    """All contestants in turn, group after group; who begins changes each time. `right` is what `alone` found."""
    seconds = {way.name: [0.0] * repeats for way in ways}
    written = {way.name: Written([]) for way in ways}
    for repeat in range(repeats):
        for at in range(0, len(asked), batch):
            first = (repeat + at // batch) % len(ways)
            for way in (*ways[first:], *ways[:first]):
                begun = perf_counter()
                found = way.write(asked[at : at + batch])
                seconds[way.name][repeat] += perf_counter() - begun
                if repeat == 0:
                    whole = written[way.name]
                    whole.tokens += found.tokens
                    whole.rounds += found.rounds
                    whole.token_forwards += found.token_forwards
                progress()
    return [_contestant(way, batch, seconds, written[way.name], right) for way in ways]


def _contestant(
    way: Way, batch: int, seconds: dict[str, list[float]], found: Written, right: dict[str, list[list[int]]]
) -> WayResult:
    own = seconds[way.name]
    tokens = sum(map(len, found.tokens))
    ratios = {
        base: Spread.of([theirs / mine for theirs, mine in zip(seconds[base], own, strict=True)])
        for base in dict.fromkeys((PLAIN, way.same))
        if base and base != way.name
    }
    speed = Spread.of([tokens / each for each in own])
    contestant = WayResult(way.name, batch, own, speed, ratios, found.rounds, found.token_forwards, way.same, way.ours)
    contestant.unsteady = _unlike(found.tokens, right[way.name])
    contestant.differing = _unlike(found.tokens, right[way.same]) if way.same else 0
    return contestant


def _unlike(some: Sequence[list[int]], others: Sequence[list[int]]) -> int:
    return sum(a != b for a, b in zip(some, others, strict=True))
