"""Superposed decoding: several drafts for one forward a step, which reads a mixture of their newest tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Ability, Model, Want
from ..models.store import Store
from ..models.window import RAW, Window
from ..row import reported
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..steer.pipeline import Pipeline
from .contract import Branch, Group, Search, Searching
from .grams import LONGEST, Grams, count
from .ranking import best_continuations, likeliest

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .branches import Branches

ENTRY = Entry(
    name="superposed",
    family="search",
    source="arXiv 2405.18400; code github.com/RAIVNLab/SuperposedDecoding",
    parts="superposed",
    guarantee=Guarantee.APPROXIMATE,
    number=60,
    needs=("embeddings as input", "a text for n-grams"),
    summary="all samples of a prompt as drafts in one stream of the cache, kept apart by n-grams of a text",
    generation="none",
    refinement="none",
    branch="hybrid",
)

LAST_RESORT = -1e4  # of a token that the text never shows here, where it shows others: only if nothing else is left


@dataclass(frozen=True, slots=True)
class Superposed(Search):
    """As many drafts as the request has samples, best first; no chance is involved, so the temperature stays 0.

    Each step reads one embedding row, the mean of the drafts' newest tokens weighted by softmax(scores), and gives one
    distribution for all drafts: softmax(logits / sharpness), its best `kept` tokens renormalised. What differs between
    the drafts is the n-gram score g of the text, relative frequencies after the last 1 … 5 tokens: a draft's score
    grows by (1 − alpha) ln P + alpha ln g. Of two candidates per draft, the best that do not end the answer live on; an
    end token counts if it is among the best, one per draft. With one sample this is greedy decoding adjusted by
    n-grams, exact in what the model is given; with `alpha=0` and one sample it is greedy decoding.
    """

    weights: tuple[float, ...] = (0.01, 0.04, 0.15, 0.18, 0.12)  # of contexts of 1, 2, … tokens; ≥ 0, sum ≤ 1
    text: str | Grams = ""  # a file, or a folder of *.txt files, in UTF-8; or counts that exist already
    alpha: float = 0.54  # [0, 1]; weight of the n-grams. Published: 0.34 for prompts of 5 tokens, 0.55 for 40
    sharpness: float = 0.06  # > 0; temperature of the model's distribution. Published: 0.06 (15 tokens), 0.12 (5)
    kept: int = 9  # tokens of each distribution, ≥ 1; at least two per draft. Published: 9, 15, 20
    penalty: float = 200.0  # ≥ 0; for a draft none of whose tokens the text shows

    name: ClassVar[str] = "superposed"
    forks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InvalidRequest(f"superposed weighs n-grams with {self.alpha}", hint="alpha in [0, 1]")
        if not self.sharpness > 0:
            raise InvalidRequest(f"superposed has a sharpness of {self.sharpness}", hint="above 0")
        if self.kept < 1 or not self.penalty >= 0:
            raise InvalidRequest(
                f"superposed keeps {self.kept} tokens, penalty {self.penalty}", hint="kept >= 1 and penalty >= 0"
            )
        if len(self.weights) > LONGEST or min(self.weights, default=0) < 0 or sum(self.weights) > 1:
            raise InvalidRequest(
                f"superposed weighs contexts with {self.weights}",
                hint=f"up to {LONGEST} numbers from 0, at most 1 together",
            )

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if not pipeline.greedy:
            raise Unsupported("superposed drafts involve no chance", hint="leave the temperature at 0")
        if self.alpha and not self.text:
            raise InvalidRequest(
                "superposed has no text to count n-grams in", hint="name one: superposed(text=FILE), or set alpha=0"
            )
        if samples > 1 and Ability.EMBEDS not in model.abilities:
            raise Unsupported(f"{model.name} takes no mixed embeddings", hint="ask for one sample")

    def rows(self, samples: int) -> int:
        return 1

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Superposing(self, context, branches.cache)


class Superposing(Searching):
    """All groups step together, one slot each: that of the group's first row, which is no branch."""

    def __init__(self, settings: Superposed, context: Context, cache: Store) -> None:
        self.settings = settings
        self.model = context.target
        self.cache = cache
        self.grams = count(settings.text, context) if settings.alpha else None

    def grow(self, groups: Sequence[Group]) -> None:
        begun = perf_counter()
        for group in groups:
            group.first.paused = True
        evaluation = self.model.evaluate(self._window(groups), self.cache, Want())
        assert evaluation.logits is not None
        for group, logits in zip(groups, evaluation.logits[:, 0], strict=True):  # [V]
            self._grow(group, logits)
        for group in groups:
            group.spend([1], perf_counter() - begun)

    def _window(self, groups: Sequence[Group]) -> Window:
        """The token that all drafts of a group end in, else the mixture of their embeddings."""
        newest = [
            [branch.tokens[-1] if branch.tokens else group.first.root for branch in group.alive] for group in groups
        ]
        starts = [len(group.first.history) - 1 + len(group.alive[0].tokens) for group in groups]
        tokens = [[ends[0] if len(set(ends)) == 1 else RAW] for ends in newest]
        window = Window.chain([group.first.cache_row for group in groups], tokens, starts, self.model.device)
        if any(slot[0] == RAW for slot in tokens):
            rows = [self.model.embed(torch.tensor(ends, device=self.model.device)) for ends in newest]  # [k, C] each
            weights = [mixing_weights(group.alive).to(row) for group, row in zip(groups, rows, strict=True)]
            window.embeds = torch.stack([w @ row for w, row in zip(weights, rows, strict=True)])[:, None]  # [B, 1, C]
        return window

    def _grow(self, group: Group, logits: Tensor) -> None:
        """Replace the group's branches by their best continuations; logits [V] after all of them."""
        row, drafts, pipeline = group.first, group.alive, group.first.rule.pipeline
        steered = logits[None].expand(len(drafts), -1)
        if not pipeline.plain:
            paths = [Path(row.history, tuple(draft.tokens)) for draft in drafts]
            steered = pipeline(Nodes(paths, steered, rules=[row.rule] * len(paths)))
        added, ids = self._scores(group, steered)  # [k, n] each
        totals = added + np.array([draft.score for draft in drafts])[:, None]
        alive: list[Branch] = []
        for parent, token, score in best_continuations(totals, ids, group.wanted, row.limits.ends):
            reports = list(drafts[parent].reports)
            if row.log_probabilities is not None:
                steered = torch.full((1, len(logits)), -torch.inf, dtype=torch.float64)
                steered[0, torch.from_numpy(ids[parent])] = torch.from_numpy(added[parent])
                reports += reported([token], logits[None], steered, row.log_probabilities)
            branch = Branch((*drafts[parent].tokens, token), score, score, reports)
            (group.finished if token in row.limits.ends else alive).append(branch)
        group.alive = alive
        group.finished = sorted(group.finished, key=lambda branch: -branch.score)[: group.wanted]
        full = len(group.finished) == group.wanted
        hopeless = full and (not alive or alive[0].score <= group.finished[-1].score)  # scores never rise
        group.ended = not alive or hopeless or len(alive[0].tokens) >= row.limits.new_tokens

    def _scores(self, group: Group, steered: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
        """What each of the best tokens adds to each draft's score, and the tokens: steered [k, V] -> [k, n], [k, n]."""
        settings = self.settings
        values, ids = likeliest(steered.double() / settings.sharpness, max(settings.kept, 2 * group.wanted))
        model = torch.from_numpy(values).log_softmax(-1).numpy()  # −inf: removed by a steer
        if self.grams is None:
            return model, ids
        history = [-1] * LONGEST + group.first.history.tokens[-LONGEST:]
        contexts = np.array([[*history, *draft.tokens][-LONGEST:] for draft in group.alive])
        found = self.grams.following(contexts, ids, settings.weights)
        unseen = np.where((found > 0).any(-1, keepdims=True), LAST_RESORT, -settings.penalty)
        with np.errstate(divide="ignore"):
            grams = np.where(found > 0, settings.alpha * np.log(found), unseen)
        return (1 - settings.alpha) * model + grams, ids


def mixing_weights(branches: Sequence[Branch]) -> Tensor:
    """softmax of the scores, float64: [k]."""
    return torch.tensor([branch.score for branch in branches], dtype=torch.float64).softmax(-1)
