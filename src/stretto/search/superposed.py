"""Superposed decoding: several drafts for one forward a step, which reads a mixture of their newest tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
import torch

from ..context import Context
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest, Unsupported
from ..generation import LogProbability
from ..models.cache import Cache
from ..models.contract import Ability, Model, Want
from ..models.window import RAW, Window
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..steer.pipeline import Pipeline
from ..steer.report import log_probability, top_log_probabilities
from .contract import Branch, Group, Search, Searching
from .grams import LONGEST, Grams

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Scores: TypeAlias = "NDArray[np.float64]"
Tokens: TypeAlias = "NDArray[np.int64]"

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

    def begin(self, context: Context, cache: Cache) -> Searching:
        return Superposing(self, context, cache)


class Superposing(Searching):
    """All groups step together, one slot each."""

    def __init__(self, settings: Superposed, context: Context, cache: Cache) -> None:
        self.settings = settings
        self.model = context.target
        self.cache = cache
        self.grams = count(settings.text, context) if settings.alpha else None

    def grow(self, groups: Sequence[Group]) -> list[list[int]]:
        evaluation = self.model.evaluate(self._window(groups), self.cache, Want())
        assert evaluation.logits is not None
        for group, logits in zip(groups, evaluation.logits[:, 0], strict=True):  # [V]
            self._grow(group, logits)
        return [[1] for _ in groups]

    def _window(self, groups: Sequence[Group]) -> Window:
        """One slot per group: the token that all drafts end in, else the mixture."""
        rows = [group.rows[0].cache_row for group in groups]
        newest = [[newest_token(group, branch) for branch in group.alive] for group in groups]
        starts = [group.rows[0].history.prompt_length - 1 + len(group.alive[0].tokens) for group in groups]
        tokens = [[ends[0] if len(set(ends)) == 1 else RAW] for ends in newest]
        window = Window.chain(rows, tokens, starts, self.model.device)
        mixed = [self._mixture(group, ends) for group, ends in zip(groups, newest, strict=True) if len(set(ends)) > 1]
        if mixed:
            raw = iter(mixed)
            embeds = [next(raw) if slot[0] == RAW else torch.zeros_like(mixed[0]) for slot in tokens]
            window.embeds = torch.stack(embeds)[:, None]  # [B, 1, C]
        return window

    def _mixture(self, group: Group, newest: Sequence[int]) -> Tensor:
        """The mean [C] of the drafts' newest embeddings, weighted by how good the drafts are."""
        rows = self.model.embed(torch.tensor(newest, device=self.model.device))  # [k, C]
        return mixing_weights(group.alive).to(rows) @ rows

    def _grow(self, group: Group, logits: Tensor) -> None:
        """Replace the group's branches by their best continuations; logits [V] after all of them."""
        row = group.rows[0]
        pipeline, drafts = row.rule.pipeline, group.alive
        shared = logits[None].expand(len(drafts), -1)
        steered = shared
        if not pipeline.plain:
            paths = [Path(row.history, branch.tokens[group.handed :]) for branch in drafts]
            steered = pipeline(Nodes(paths, shared))
        scores, ids = self._scores(group, steered)  # [k, n] each
        totals = scores + np.array([branch.score for branch in drafts])[:, None]
        ends = row.limits.ends
        order = np.argsort(-totals, axis=None, kind="stable")[: group.wanted * max(2, 1 + len(ends))]
        alive: list[Branch] = []
        finished = list(group.finished)
        for place, flat in enumerate(order.tolist()):
            draft, at = divmod(flat, totals.shape[1])
            token, score = int(ids[draft, at]), float(totals[draft, at])
            if score == -np.inf:
                break
            ended = token in ends
            if (ended and place >= group.wanted) or (not ended and len(alive) == group.wanted):
                continue
            reports: list[LogProbability] = []
            if row.log_probabilities is not None:
                reports = [report(token, logits, scores[draft], ids[draft], row.log_probabilities)]
            branch = Branch((*drafts[draft].tokens, token), score, (*drafts[draft].reports, *reports))
            (finished if ended else alive).append(branch)
        finished.sort(key=lambda branch: -branch.score)
        group.alive, group.finished = alive, finished[: group.wanted]
        longest = len(drafts[0].tokens) + 1
        full = len(group.finished) == group.wanted
        hopeless = full and (not alive or alive[0].score <= group.finished[-1].score)  # scores never rise
        group.ended = not alive or hopeless or longest - group.handed >= row.remaining

    def _scores(self, group: Group, steered: Tensor) -> tuple[Scores, Tokens]:
        """What each of the best tokens adds to each draft's score, and the tokens: steered [k, V] -> [k, n], [k, n]."""
        settings = self.settings
        kept = (steered.double() / settings.sharpness).topk(
            min(max(settings.kept, 2 * group.wanted), steered.shape[-1])
        )
        model = kept.values.log_softmax(-1).cpu().numpy()  # −inf: removed by a steer
        ids = kept.indices.cpu().numpy()
        if self.grams is None:
            return model, ids
        found = self.grams.following(self._contexts(group), ids, settings.weights)
        unseen = np.where((found > 0).any(-1, keepdims=True), LAST_RESORT, -settings.penalty)
        with np.errstate(divide="ignore"):
            grams = np.where(found > 0, settings.alpha * np.log(found), unseen)
        return (1 - settings.alpha) * model + grams, ids

    def _contexts(self, group: Group) -> Tokens:
        """The last tokens of each draft, prompt included, newest last: [k, LONGEST], −1 where there are none."""
        history = group.rows[0].history
        committed = history.tokens[-LONGEST:]
        lines = [
            ([-1] * LONGEST + [*committed, *branch.tokens[max(group.handed, len(branch.tokens) - LONGEST) :]])[
                -LONGEST:
            ]
            for branch in group.alive
        ]
        return np.array(lines, dtype=np.int64)


def report(token: int, logits: Tensor, scores: Scores, ids: Tokens, most: int) -> LogProbability:
    """Both log-probabilities of a token: under the model's logits [V], and among the n tokens that were scored."""
    raw = logits[None]
    steered = torch.full((1, len(logits)), -torch.inf, dtype=torch.float64)
    steered[0, torch.from_numpy(ids)] = torch.from_numpy(scores)
    return LogProbability(
        token,
        log_probability(raw, [token])[0],
        log_probability(steered, [token])[0],
        top_log_probabilities(raw, most)[0],
        top_log_probabilities(steered, most)[0],
    )


def newest_token(group: Group, branch: Branch) -> int:
    """What a branch ends in; before the first round, what the prompt does."""
    return branch.tokens[-1] if branch.tokens else group.rows[0].root


def mixing_weights(branches: Sequence[Branch]) -> Tensor:
    """softmax of the scores, float64: [k]."""
    return torch.tensor([branch.score for branch in branches], dtype=torch.float64).softmax(-1)


def count(text: str | Grams, context: Context) -> Grams:
    """The n-grams of a file, or of each *.txt file of a folder; remembered from one decode to the next."""
    if isinstance(text, Grams):
        return text
    if context.encode is None:
        raise Unsupported("superposed counts n-grams of a text, and here is no text", hint="decode through an Engine")
    folder = FilePath(text).expanduser()
    if not folder.exists():
        raise InvalidRequest(f"there is no text {text}", hint="name a text file or a folder of *.txt files")
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else [folder]
    encode = context.encode

    def counted() -> Grams:
        try:
            documents = [encode(file.read_text(encoding="utf-8")) for file in files]
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{text} is not UTF-8 text", hint="convert it first") from error
        if not any(documents):
            raise InvalidRequest(f"there is no text in {text}", hint="name a text file or a folder of *.txt files")
        return Grams(documents, context.target.vocabulary)

    key = tuple((str(file), file.stat().st_mtime_ns) for file in files)
    return context.remembered(Grams, key, counted)
