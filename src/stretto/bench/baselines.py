"""transformers' own `generate` as contestants: greedy, prompt lookup, assisted by the same draft model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..generation import Counters
from .lanes import Answer, Case
from .replay import Watched, followers

GREEDY = "hf greedy"
PADDING = 0  # any id: padded slots are masked


class Baseline:
    """One way of calling `generate`, greedily, in inference mode."""

    ours = False

    def __init__(
        self, name: str, watched: Watched, ends: Sequence[int], max_new_tokens: int, options: dict[str, Any]
    ) -> None:
        self.name = name
        self._watched = watched
        self._ends = list(ends)
        self._max_new_tokens = max_new_tokens
        self._options = options  # of generate, beyond what all baselines share
        self._side_by_side = not options  # the assisted ways take one prompt at a time

    def prepare(self, cases: Sequence[Case]) -> None:
        """Split the group into calls of `generate`, and lay out what each is forced to."""
        parts = [list(cases)] if self._side_by_side else [[case] for case in cases]
        self._calls = [(part, padding(part), self._forced(part)) for part in parts]

    def answer(self, cases: Sequence[Case]) -> Answer:
        """Answer the group: together in a padded batch, or one by one."""
        tokens: list[list[int]] = []
        counters = Counters()
        for part, pads, forced in self._calls:
            self._watched.follow(forced)
            tokens.extend(self._generate(part, pads))
            counters.add(self._watched.counters)
        counters.new_tokens = sum(map(len, tokens))
        counters.drafted = counters.token_forwards - counters.row_forwards
        if not self._side_by_side:  # every forward commits one token beyond what it accepts
            counters.accepted = counters.new_tokens - counters.row_forwards
        return Answer(tokens, counters)

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
            do_sample=False,
            max_new_tokens=self._max_new_tokens,
            eos_token_id=self._ends or None,
            pad_token_id=self._ends[0] if self._ends else PADDING,
            **self._options,
        )
        return [self._until_end(row) for row in output[:, len(prompts[0]) :].tolist()]

    def _until_end(self, tokens: list[int]) -> list[int]:
        at = next((at for at, token in enumerate(tokens) if token in self._ends), len(tokens) - 1)
        return tokens[: at + 1]


def padding(cases: Sequence[Case]) -> list[int]:
    """How many slots each prompt lacks to the longest."""
    longest = max(len(case.prompt) for case in cases)
    return [longest - len(case.prompt) for case in cases]


def baselines(
    watched: Watched, draft: PreTrainedModel | None, ends: Sequence[int], max_new_tokens: int
) -> list[Baseline]:
    """Greedy, and the others each at a few settings: the best one of each text counts.

    Assisted: transformers' default (up to 20 tokens, as long as the draft is sure of them), and five tokens.
    Each has a draft of its own, since transformers keeps the settings in its generation config.
    """
    ways: dict[str, dict[str, Any]] = {GREEDY: {}}
    for size in (3, 10):
        ways[f"hf lookup {size}"] = {"prompt_lookup_num_tokens": size}
    if draft is not None:
        ways["hf assisted"] = {"assistant_model": copy.deepcopy(draft)}
        constant = copy.deepcopy(draft)
        constant.generation_config.num_assistant_tokens = 5
        constant.generation_config.num_assistant_tokens_schedule = "constant"
        constant.generation_config.assistant_confidence_threshold = 0.0
        ways["hf assisted 5"] = {"assistant_model": constant}
    return [Baseline(name, watched, ends, max_new_tokens, options) for name, options in ways.items()]
