"""transformers' own `generate` as contestants: plain, prompt lookup, assisted by the same draft model."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..generation import Counters
from .contestants import GREEDILY, Answer, Case, Draw
from .replay import Watched, followers
from .rounds import Pass, Round, of_passes

GREEDY = "hf greedy"
LOOKUP = (3, 10, 20)  # tokens copied at most
ASSISTED = (3, 5)  # tokens drafted in each round, beside transformers' default
PADDING = 0  # any id: padded slots are masked


class Baseline:
    """One way of calling `generate`, in inference mode: greedily, or drawing from the model's own distribution."""

    ours = False
    learns = False

    def __init__(
        self, name: str, watched: Watched, ends: Sequence[int], max_new_tokens: int, options: dict[str, Any]
    ) -> None:
        self.name = name
        self._watched = watched
        self._ends = list(ends)
        self._max_new_tokens = max_new_tokens
        self._options = options  # of generate, beyond what all baselines share
        self._side_by_side = not options  # the assisted ways take one prompt at a time
        self._draw = GREEDILY

    def prepare(self, cases: Sequence[Case], draw: Draw = GREEDILY) -> None:
        """Split the group into calls of `generate`, and lay out what each is forced to."""
        self._draw = draw
        torch.manual_seed(1009 * draw.seed + draw.repeat)
        parts = [list(cases)] if self._side_by_side else [[case] for case in cases]
        self._calls = [Call(part, padding(part), self._forced(part)) for part in parts]

    def answer(self, cases: Sequence[Case]) -> Answer:
        """Answer the group: together in a padded batch, or one by one."""
        tokens: list[list[int]] = []
        counters = Counters()
        passes = []
        for call in self._calls:
            self._watched.follow(call.forced, self._draw.temperature)
            begun = perf_counter()
            tokens.extend(self._generate(call.cases, call.pads))
            counters.add(self._watched.counters)
            passes.append(self._watched.passes)
            counters.prompt_seconds += passes[-1][0].ended - begun
            counters.seconds += passes[-1][-1].ended - passes[-1][0].ended
        counters.new_tokens = sum(map(len, tokens))
        counters.drafted = counters.token_forwards - counters.row_forwards
        if not self._side_by_side:  # every forward commits one token beyond what it accepts
            counters.accepted = counters.new_tokens - counters.row_forwards
        return Answer(tokens, counters, lambda: _rounds(passes, tokens))

    def bound(self, case: Case, draw: Draw) -> bool:
        """Drawn tokens are its own, unless they are forced."""
        return case.forced or not draw.temperature

    def _forced(self, cases: Sequence[Case]) -> Tensor | None:
        if not cases[0].forced:
            return None
        texts = [[PADDING] * pad + case.text for pad, case in zip(padding(cases), cases, strict=True)]
        return followers(texts, self._watched.module.device)

    @torch.inference_mode()
    def _generate(self, cases: Sequence[Case], pads: Sequence[int]) -> list[list[int]]:
        device = self._watched.module.device
        prompts = [[PADDING] * pad + case.prompt for pad, case in zip(pads, cases, strict=True)]
        seen = [[0] * pad + [1] * len(case.prompt) for pad, case in zip(pads, cases, strict=True)]
        output: Tensor = self._watched.module.generate(
            input_ids=torch.tensor(prompts, device=device),
            attention_mask=torch.tensor(seen, device=device),
            max_new_tokens=self._max_new_tokens,
            eos_token_id=self._ends or None,
            pad_token_id=self._ends[0] if self._ends else PADDING,
            **_choice(self._draw),
            **self._options,
        )
        return [self._until_end(row) for row in output[:, len(prompts[0]) :].tolist()]

    def _until_end(self, tokens: list[int]) -> list[int]:
        at = next((at for at, token in enumerate(tokens) if token in self._ends), len(tokens) - 1)
        return tokens[: at + 1]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of `generate`: its cases, how many slots each is padded by, what they are forced to."""

    cases: list[Case]
    pads: list[int]
    forced: Tensor | None  # [R, P]


def _choice(draw: Draw) -> dict[str, Any]:
    """Settings of `generate`; a checkpoint's own truncation is switched off, as it is on our side."""
    if not draw.temperature:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": draw.temperature, "top_k": 0, "top_p": 1.0}


def _rounds(passes: Sequence[Sequence[Pass]], tokens: Sequence[Sequence[int]]) -> list[list[Round]]:
    """Of each case: calls hold one case each, or there is one call whose rows went side by side."""
    each: Iterable[Sequence[Pass]] = passes if len(passes) == len(tokens) else [passes[0]] * len(tokens)
    return [of_passes(found, len(written)) for found, written in zip(each, tokens, strict=True)]


def padding(cases: Sequence[Case]) -> list[int]:
    """How many slots each prompt lacks to the longest."""
    longest = max(len(case.prompt) for case in cases)
    return [longest - len(case.prompt) for case in cases]


def baselines(
    watched: Watched, draft: PreTrainedModel | None, ends: Sequence[int], max_new_tokens: int
) -> list[Baseline]:
    """transformers' own three ways: the plain one, and the others each at a few settings, of which the best counts.

    Assisted: transformers' default (up to 20 tokens, as long as the draft is sure of them), and fixed numbers.
    Each has a draft of its own, since transformers keeps the settings in its generation config.
    """
    ways: dict[str, dict[str, Any]] = {GREEDY: {}}
    for size in LOOKUP:
        ways[f"hf lookup {size}"] = {"prompt_lookup_num_tokens": size}
    if draft is not None:
        ways["hf assisted"] = {"assistant_model": copy.deepcopy(draft)}
        for size in ASSISTED:
            constant = copy.deepcopy(draft)
            constant.generation_config.num_assistant_tokens = size
            constant.generation_config.num_assistant_tokens_schedule = "constant"
            constant.generation_config.assistant_confidence_threshold = 0.0
            ways[f"hf assisted {size}"] = {"assistant_model": constant}
    return [Baseline(name, watched, ends, max_new_tokens, options) for name, options in ways.items()]


def way(name: str) -> str:
    """Which of the three a baseline's name is a setting of: `hf lookup 3` is `hf lookup`."""
    return " ".join(name.split()[:2])
