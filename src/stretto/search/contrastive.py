"""Contrastive search: likely tokens, less what makes the text resemble itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

import torch

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Ability, Model, Want
from ..models.reading import read
from ..models.window import Window
from ..row import Row, reported
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..steer.pipeline import Pipeline
from .contract import Branch, Group, Search, Searching
from .ranking import likeliest

if TYPE_CHECKING:
    from torch import Tensor

    from .branches import Branches

ENTRY = Entry(
    name="contrastive-search",
    family="search",
    source="arXiv 2202.06417; code github.com/yxuansu/SimCTG",
    parts="contrastive",
    guarantee=Guarantee.APPROXIMATE,
    needs=("hidden states", "tree windows"),
    summary="of a few likely tokens the one that is likely, and whose row in the last layer is like no earlier one",
)


@dataclass(frozen=True, slots=True)
class Contrastive(Search):
    """Of the `top` likeliest tokens the one with the largest (1 − alpha) · p − alpha · cosine; temperature 0.

    The cosine is the greatest of those between the token's row and the row of any token before it, the prompt's
    included; p is what the steers leave. Rows are those that leave the last layer, before the model's final norm
    (published: after it). The candidates are evaluated side by side, and the logits after the chosen one give the next
    candidates: one forward a token. With `alpha` 0 or one candidate it is greedy decoding.
    """

    top: int = 5  # ≥ 1, candidates
    alpha: float = 0.6  # 0 to 1, weight of the cosine. Published: 0.6

    name: ClassVar[str] = "contrastive"
    forks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.top < 1 or not 0 <= self.alpha <= 1:
            raise InvalidRequest(f"the best of {self.top} tokens, alpha {self.alpha}", hint="at least 1; from 0 to 1")

    @property
    def greedy(self) -> bool:
        """Whether no row counts."""
        return self.alpha == 0 or self.top == 1

    def check(self, model: Model, pipeline: Pipeline, samples: int) -> None:
        if not pipeline.greedy:
            raise Unsupported("contrastive search involves no chance", hint="leave the temperature at 0")
        if not self.greedy and (Ability.HIDDEN | Ability.TREE) not in model.abilities:
            raise Unsupported(
                f"{model.name} does not show the rows of tokens side by side", hint="alpha=0 needs none, and is greedy"
            )

    def rows(self, samples: int) -> int:
        return 1

    def begin(self, context: Context, branches: Branches) -> Searching:
        return Contrasting(self, context, branches)


@dataclass(slots=True, eq=False)
class Plan:
    """Where one text stands: what may follow it, of what distribution, and the rows of its tokens."""

    rows: Tensor  # [n, C] of length 1, all but those of the candidates
    candidates: list[int]  # that are evaluated next; at first the prompt's last token
    odds: Tensor  # float64 [k], of the candidates
    raw: Tensor | None = None  # [V], after the text; None before the first candidates
    steered: Tensor | None = None  # [V]


class Contrasting(Searching):
    """All groups step together; the candidates of each are branches of a tree in the cache, of which one stays."""

    def __init__(self, settings: Contrastive, context: Context, branches: Branches) -> None:
        self.settings, self.model, self.branches = settings, context.target, branches
        self.top = 1 if settings.greedy else settings.top
        self.want = Want() if settings.greedy else Want(hidden=(context.target.layers,))

    def grow(self, groups: Sequence[Group]) -> None:
        begun = perf_counter()
        for group in (group for group in groups if group.plan is None):
            group.first.paused = True
            group.plan = Plan(self._rows_of(group), [group.first.root], torch.ones(1, dtype=torch.float64))
        plans: list[Plan] = [group.plan for group in groups]
        cache, rows = self.branches.cache, [group.first.cache_row for group in groups]
        lengths = [cache.length(row) for row in rows]
        found = self.model.evaluate(self._window(groups, plans), cache, self.want)
        assert found.logits is not None, "they were wanted"
        for at, (group, plan, row) in enumerate(zip(groups, plans, rows, strict=True)):
            size = len(plan.candidates)
            hidden = found.hidden[self.model.layers][at, :size] if found.hidden else torch.zeros(size, 0)
            new = torch.nn.functional.normalize(hidden.float(), dim=-1)
            best = int(scores(plan.odds, likenesses(plan.rows, new), self.settings.alpha).argmax())
            if size > 1:
                cache.keep(row, lengths[at], [lengths[at] + best])
            plan.rows = torch.cat([plan.rows.to(new), new[best : best + 1]]) if len(plan.rows) else new[best : best + 1]
            self._take(group, plan, plan.candidates[best], found.logits[at, best])
            group.spend([size], perf_counter() - begun)

    def _window(self, groups: Sequence[Group], plans: Sequence[Plan]) -> Window:
        rows = [group.first.cache_row for group in groups]
        tokens = [plan.candidates for plan in plans]
        starts = [
            len(group.first.history.tokens) - (plan.raw is None) + len(group.alive[0].tokens)
            for group, plan in zip(groups, plans, strict=True)
        ]
        if all(len(each) == 1 for each in tokens):
            return Window.chain(rows, tokens, starts, self.model.device)
        return Window.branching(rows, tokens, [[-1] * len(each) for each in tokens], starts, self.model.device)

    def _rows_of(self, group: Group) -> Tensor:
        """The rows of a prompt's tokens but the last: [n - 1, C]; none where they do not count."""
        history = group.first.history
        tokens = [] if self.settings.greedy else history.tokens[:-1]
        group.counters.token_forwards += len(tokens)
        store, want = self.model.new_cache(), Want(logits=False, hidden=self.want.hidden)
        parts = read(self.model, store, store.open(), tokens, want)
        rows = [evaluation.hidden[self.model.layers][0].float() for evaluation, _ in parts]
        return torch.nn.functional.normalize(torch.cat(rows), dim=-1) if rows else torch.zeros(0, 0)

    def _take(self, group: Group, plan: Plan, token: int, logits: Tensor) -> None:
        """The chosen token joins the answer, unless it is the prompt's last; logits [V] after it give the next."""
        row, branch = group.first, group.alive[0]
        if plan.raw is not None and plan.steered is not None:
            branch = self._longer(row, branch, plan.raw, plan.steered, token)
        group.alive = [branch]
        group.ended = bool(branch.tokens) and (
            branch.tokens[-1] in row.limits.ends or len(branch.tokens) == row.limits.new_tokens
        )
        pipeline, plan.raw = row.rule.pipeline, logits
        nodes = Nodes([Path(row.history, tuple(branch.tokens))], logits[None], rules=[row.rule])
        plan.steered = logits if pipeline.plain else pipeline(nodes)[0]
        values, tokens = likeliest(plan.steered[None].double(), self.top)
        plan.candidates = tokens[0][values[0] > -torch.inf].tolist()
        plan.odds = plan.steered.double().softmax(-1)[plan.candidates]

    def _longer(self, row: Row, branch: Branch, raw: Tensor, steered: Tensor, token: int) -> Branch:
        reports = list(branch.reports)
        if row.log_probabilities is not None:
            reports += reported([token], raw[None], steered[None], row.log_probabilities)
        score = branch.score + float(steered.double().log_softmax(-1)[token])
        return Branch((*branch.tokens, token), score, score, reports)


def likenesses(rows: Tensor, candidates: Tensor) -> Tensor:
    """The greatest cosine between each candidate and any row, all of length 1: [n, C], [k, C] -> float64 [k].

    Where there is no row it is 0.
    """
    if not len(rows):
        return torch.zeros(len(candidates), dtype=torch.float64)
    return (candidates @ rows.to(candidates).T).amax(-1).double()


def scores(odds: Tensor, alike: Tensor, alpha: float) -> Tensor:
    """What candidates are chosen by, of their probabilities and of how much they resemble what came before: [k].

    >>> scores(torch.tensor([0.5, 0.4]), torch.tensor([0.9, 0.3]), 0.6)
    tensor([-0.3400, -0.0200])
    """
    return (1 - alpha) * odds - alpha * alike.to(odds)
