"""Claims about acceptance rules: exact enumeration of all drafts and coins on what both models really say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from ... import gym
from ...speculate.acceptors.block import Block
from ...speculate.acceptors.cascade import Cascade
from ...speculate.acceptors.k_seq import KSeq
from ...speculate.acceptors.multi import Multi
from ...speculate.acceptors.recursive import Recursive
from ...speculate.acceptors.rejection import Rejection
from ...speculate.acceptors.traversal import Traversal
from ...speculate.chance import SamplingAcceptor, Vector
from ...tree import ROOT, NodeKind, Tree
from ..tasks import Exercise
from .contract import Absent, Claim, Figures, at_least, equal, falling
from .lab import OPEN, Decoding, Lab, Worked

Tokens = tuple[int, ...]
KEPT = 3  # tokens of each model's distribution that are kept where whole drafts are enumerated
PLACES = 12  # of the texts at which they are
READ = 32  # tokens before each of these
KINDS = ("arithmetic", "letter", "reformat", "sql", "word_problem", "sorting")  # gym answers that are judged
SOURCES = ("replay:stories", "replay:gsm8k", "replay:mbpp")


@dataclass(frozen=True, slots=True)
class Pair:
    """What target and draft model say after every short continuation of one text, over the tokens either may write."""

    p: Mapping[Tokens, Vector]
    q: Mapping[Tokens, Vector]

    def target(self, tree: Tree) -> Callable[[int], Vector]:
        """What the target says after a node; after a whole draft, where only the extra token is drawn, anything."""
        return lambda node: self.p.get(tuple(tree.path_tokens(node)), self.p[()])


# -- what the models say --------------------------------------------------------------------------


def texts(lab: Lab, count: int, length: int) -> list[list[int]]:
    """Token ids of stretches of real text, from all sources in turn."""
    found: list[list[int]] = []
    for name in SOURCES:
        for case in lab.prepared(name, 0.0, count, 96).cases:
            if len(case.text) >= length:
                found.append(case.text[:length])
    if not found:
        raise Absent("no text is long enough", hint="more of them: --count")
    return found


Saying = Callable[[Lab, Sequence[Sequence[int]], int], tuple[torch.Tensor, torch.Tensor]]


def both(lab: Lab, batch: Sequence[Sequence[int]], last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of target and draft model after each of the last tokens: [B, last, V] twice."""
    size = min(lab.subject.replayed.vocabulary, lab.draft_model().vocabulary)
    lab.subject.replayed.follow(None)
    return (
        lab.logits(lab.subject.replayed, batch, last)[..., :size],
        lab.logits(lab.draft_model(), batch, last)[..., :size],
    )


def itself_flatter(lab: Lab, batch: Sequence[Sequence[int]], last: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of the target and, as a draft that agrees with it often, the target at temperature 2."""
    lab.subject.replayed.follow(None)
    target = lab.logits(lab.subject.replayed, batch, last)
    return target, target / 2


def pairs(lab: Lab, depth: int, say: Saying = both) -> list[Pair]:
    """All that both models say after drafts of fewer than `depth` tokens, their distributions cut to the best few."""
    found = []
    for text in texts(lab, PLACES // len(SOURCES), READ)[:PLACES]:
        p: dict[Tokens, torch.Tensor] = {}
        q: dict[Tokens, torch.Tensor] = {}
        level: list[Tokens] = [()]
        for _ in range(depth):
            target, draft = say(lab, [[*text, *path] for path in level], 1)
            for path, mine, other in zip(level, target[:, 0], draft[:, 0], strict=True):
                p[path], q[path] = best_few(mine), best_few(other)
            level = [(*path, int(token)) for path in level for token in q[path].nonzero()[:, 0]]
        found.append(narrowed(p, q))
    return found


def narrowed(p: Mapping[Tokens, torch.Tensor], q: Mapping[Tokens, torch.Tensor]) -> Pair:
    """The same over the tokens that have any probability at all, which are numbered anew."""
    kept = torch.stack([*p.values(), *q.values()]).sum(0).nonzero()[:, 0]
    number = {int(token): at for at, token in enumerate(kept)}

    def narrow(lines: Mapping[Tokens, torch.Tensor]) -> dict[Tokens, Vector]:
        return {tuple(number[token] for token in path): line[kept].numpy() for path, line in lines.items()}

    return Pair(narrow(p), narrow(q))


def best_few(logits: torch.Tensor) -> torch.Tensor:
    """The best tokens' probabilities among themselves, [V]; 0 for all others."""
    best = logits.double().topk(KEPT)
    return torch.zeros(len(logits), dtype=torch.float64).scatter(0, best.indices, best.values.softmax(-1))


# -- enumeration --------------------------------------------------------------------------------


class Every:
    """Answers a rule's questions by every branch in turn, and knows how probable the branch is."""

    def __init__(self) -> None:
        self.answers: list[bool] = []
        self.asked = 0
        self.weight = 1.0

    def accept(self, probability: float) -> bool:
        """Yes first; certainties are no branches."""
        if not 0 < probability < 1:
            return probability >= 1
        if self.asked == len(self.answers):
            self.answers.append(True)
        yes = self.answers[self.asked]
        self.asked += 1
        self.weight *= probability if yes else 1 - probability
        return yes

    def at(self, depth: int, *labels: int) -> Every:
        """All positions ask the same."""
        return self

    def draw(self, weights: Vector) -> int:
        """Which token ends a round changes nothing of its length."""
        return 0

    def next(self) -> bool:
        """Turn to the next branch; whether there is one."""
        while self.answers and not self.answers[-1]:
            self.answers.pop()
        if not self.answers:
            return False
        self.answers[-1] = False
        self.asked, self.weight = 0, 1.0
        return True


def accepted(acceptor: SamplingAcceptor, tree: Tree, target: Callable[[int], Vector]) -> float:
    """The expected number of accepted nodes of one draft."""
    coins, total = Every(), 0.0
    while True:
        path = acceptor.walk(tree, target, coins).path
        total += coins.weight * len(path)
        if not coins.next():
            return total


def orders(q: Vector, children: int, repeat: bool) -> Iterator[tuple[Tokens, float]]:
    """Every way to draw siblings from q [V], with its probability."""
    possible = [int(token) for token in np.flatnonzero(q)]
    if repeat:
        for tokens in itertools.product(possible, repeat=children):
            yield tokens, float(np.prod([q[token] for token in tokens]))
        return
    for tokens in itertools.permutations(possible, min(children, len(possible))):
        weight, left = 1.0, 1.0
        for token in tokens:
            weight *= q[token] / left
            left -= q[token]
        yield tokens, weight


def trees(pair: Pair, branches: Sequence[int], repeat: bool) -> Iterator[tuple[Tree, float]]:
    """Every draft with so many children of each node, with its probability."""
    yield from _grown(pair, branches, Tree(), [ROOT], repeat=repeat)


def _grown(
    pair: Pair, branches: Sequence[int], tree: Tree, level: Sequence[int], *, repeat: bool, weight: float = 1.0
) -> Iterator[tuple[Tree, float]]:
    """Children below all nodes of a level in every way, and so on."""
    if not branches:
        yield tree, weight
        return
    lines = [pair.q[tuple(tree.path_tokens(node))] for node in level]
    for drawn in itertools.product(*(list(orders(line, branches[0], repeat)) for line in lines)):
        grown = tree.prune(range(len(tree)))
        below, chance = [], weight
        for node, line, (tokens, probability) in zip(level, lines, drawn, strict=True):
            chance *= probability
            below += [grown.add(token, node, proposal=NodeKind.SAMPLED, drawn_from=line) for token in tokens]
        yield from _grown(pair, branches[1:], grown, below, repeat=repeat, weight=chance)


def length(acceptor: SamplingAcceptor, pair: Pair, branches: Sequence[int], *, repeat: bool = False) -> float:
    """The expected number of committed tokens of a round: over all drafts and all coins."""
    expected = 1.0
    for tree, weight in trees(pair, branches, repeat):
        expected += weight * accepted(acceptor, tree, pair.target(tree))
    return expected


# -- contests -------------------------------------------------------------------------------------


def candidates(lab: Lab) -> Figures:
    """How often one of two candidates is accepted; and one, for comparison."""
    found = pairs(lab, 1)
    each = [_two_or_one(pair) for pair in found]
    return {name: fmean(rates[name] for rates in each) for name in each[0]}


def reference(lab: Lab) -> Figures:
    """The same for p = (.5, .3, .2), q = (.2, .5, .3)."""
    return dict(_two_or_one(Pair({(): np.array([0.5, 0.3, 0.2])}, {(): np.array([0.2, 0.5, 0.3])})))


def _two_or_one(pair: Pair) -> dict[str, float]:
    """The probability that one of two candidates is accepted, by rule, or a single one."""
    return {
        "without replacement": length(Recursive(), pair, (2,)) - 1,
        "k-seq": length(KSeq(), pair, (2,), repeat=True) - 1,
        "with replacement": length(Multi(), pair, (2,), repeat=True) - 1,
        "one": length(Rejection(), pair, (1,)) - 1,
    }


def rivals(first: SamplingAcceptor, second: SamplingAcceptor, branches: Sequence[int]) -> Callable[[Lab], Figures]:
    """Expected tokens of a round by two rules: with the draft model, and with a draft that agrees more."""

    def run(lab: Lab) -> Figures:
        figures: Figures = {}
        for name, say in (("", both), (", agreeing draft", itself_flatter)):
            found = pairs(lab, len(branches), say)
            for acceptor in (first, second):
                figures[acceptor.name + name] = fmean(length(acceptor, pair, branches) for pair in found)
        return figures

    return run


def frontier(lab: Lab) -> Figures:
    """How probable the right token of gym answers is where half of the rejections are spared, by rule."""
    places = list(answered(lab))
    wanted = fmean(float(np.maximum(p - q, 0).sum()) for p, q, _ in places) / 2
    figures: Figures = {
        "target alone": fmean(float(p[token]) for p, _, token in places),
        "draft alone": fmean(float(q[token]) for _, q, token in places),
    }
    for rule in ("opt", "v1", "v3"):
        points = []
        for alpha in np.linspace(0.0, 1.0, 21):
            mix = Cascade(rule, float(alpha)).mixture
            mixed = [(mix(p, q, p, q), q, token) for p, q, token in places]
            points.append(_point([(pi, float(np.maximum(pi - q, 0).sum()), token) for pi, q, token in mixed]))
        figures[rule] = _between(points, wanted)
    lossy = [[(*_lossy(p, q, alpha), token) for p, q, token in places] for alpha in 1 - np.logspace(0, -12, 37)]
    figures["lossy"] = _between([_point(each) for each in lossy], wanted)
    only = sum(bool(q.argmax() == token != p.argmax()) for p, q, token in places)
    figures["places where only the draft is right"] = only / len(places)
    return figures


def answered(lab: Lab) -> Iterator[tuple[Vector, Vector, int]]:
    """What both models say at every token of the right answers to gym questions [V] each, and that token."""
    subject = lab.subject
    for kind in KINDS:
        for question in gym.questions(kind, "test", lab.count or 4, lab.seed):
            prompt = subject.encode(Exercise(question.prompt))
            answer = subject.encode_reference(question.answer)
            p, q = (
                logits[0].double().softmax(-1).numpy() for logits in both(lab, [[*prompt, *answer][:-1]], len(answer))
            )
            yield from zip(p, q, answer, strict=True)


def _lossy(p: Vector, q: Vector, alpha: float) -> tuple[Vector, float]:
    """What lossy speculative sampling really draws from, and how often it rejects."""
    kept = np.minimum(q, p / (1 - alpha))
    rejected = max(0.0, 1 - kept.sum())
    rest = np.maximum(p - q, 0)
    return kept + rejected * rest / max(rest.sum(), 1e-300), rejected


def _point(places: Sequence[tuple[Vector, float, int]]) -> tuple[float, float]:
    """Mean rejection rate, and mean probability of the right token."""
    return fmean(rate for _, rate, _ in places), fmean(float(pi[token]) for pi, _, token in places)


def _between(points: Sequence[tuple[float, float]], wanted: float) -> float:
    """The value at a rejection rate, on straight lines between the points."""
    rates, values = zip(*sorted(points), strict=True)
    return float(np.interp(wanted, rates, values))


def drawn_trees(lab: Lab) -> Figures:
    """Expected tokens of a round: trees of 2 × 2 without and with replacement, and a chain as deep."""
    found = pairs(lab, 2)
    return {
        "without replacement": fmean(length(Recursive(), pair, (2, 2)) for pair in found),
        "independent": fmean(length(Multi(), pair, (2, 2), repeat=True) for pair in found),
        "chain": fmean(length(Rejection(), pair, (1, 1)) for pair in found),
    }


WHERE = f"{PLACES} places of {', '.join(SOURCES)}, the best {KEPT} tokens of each model; all drafts, all coins"
AGREEING = "the agreeing draft is the target at temperature 2"
CLAIMS = (
    Claim(
        "multi-candidate",
        "multi-candidate",
        "more candidates, and none twice, are accepted more often",
        "probability that a candidate is accepted",
        Worked(candidates, f"`recursive`, `k-seq`, `multi` with two candidates, `rejection` with one at {WHERE}"),
        (
            at_least("without replacement", 1.0, "k-seq"),
            at_least("k-seq", 1.0, "with replacement"),
            at_least("with replacement", 1.02, "one"),
        ),
    ),
    Claim(
        "multi-candidate-reference",
        "multi-candidate",
        "the published rules on p = (.5, .3, .2), q = (.2, .5, .3): .7 for one; .76, .791, .809 for two",
        "probability that a candidate is accepted",
        Worked(reference, "the same rules on the one position; all drafts, all coins"),
        (
            equal("one", 0.7),
            equal("with replacement", 0.76),
            equal("k-seq", 0.791355, 1e-5),
            equal("without replacement", 283 / 350),
        ),
    ),
    Claim(
        "block-verification",
        "block-verification",
        "judging a draft as a block commits 7 to 10 % more tokens than token by token, never fewer",
        "expected tokens per round",
        Worked(
            rivals(Block(), Rejection(), (1, 1, 1, 1)), f"`block` and `rejection` on chains of 4 at {WHERE}; {AGREEING}"
        ),
        (at_least("block", 1.0, "rejection"), at_least("block, agreeing draft", 1.02, "rejection, agreeing draft")),
    ),
    Claim(
        "traversal-verification",
        "traversal-verification",
        "judging a tree from its leaves commits 2.2 to 5.7 % more tokens than from its root, never fewer",
        "expected tokens per round",
        Worked(
            rivals(Traversal(), Recursive(), (2, 1, 1)),
            f"`traversal` and `recursive` on trees of 2 × 1 × 1 at {WHERE}; {AGREEING}",
        ),
        (
            at_least("traversal", 1.0, "recursive"),
            at_least("traversal, agreeing draft", 1.01, "recursive, agreeing draft"),
        ),
    ),
    Claim(
        "rsd-drawn",
        "rsd-constant",
        "a tree drawn without replacement accepts more than independent draws in as many nodes, and than a chain",
        "expected tokens per round",
        Worked(drawn_trees, f"`recursive`, `multi` on trees of 2 × 2, `rejection` on chains of 2 at {WHERE}"),
        falling("without replacement", "independent", "chain"),
        number=31,
    ),
    Claim(
        "typical-acceptance",
        "typical-acceptance",
        "accepting what is typical, rather than what would have been drawn, lets longer drafts through at T > 0",
        "tokens per round",
        Decoding(
            {"typical": "draft-tree+typical+fixed(24,depth=4)", "exact": "draft-tree+exact+fixed(24,depth=4)"},
            OPEN,
            temperature=0.7,
            count=6,
        ),
        (at_least("typical", 1.05, "exact"),),
    ),
    Claim(
        "speculative-cascades",
        "speculative-cascades",
        "deferral rules, token-specific ones above all, give better quality than lossy speculation at the same cost",
        "probability of the right token at half the rejections of exact speculation",
        Worked(
            frontier,
            "`cascade` by opt, v1, v3, and `lossy`, each at the alpha of that rate, on right answers of "
            + ", ".join(KINDS),
        ),
        (at_least("v3", 1.0, "lossy"), at_least("opt", 1.0, "lossy"), at_least("v3", 1.0, "draft alone")),
        number=90,
        where_not="the draft is distilled from this very target and is hardly ever right where the target is wrong, so "
        "there is little to gain by trusting it; lossy speculation spares the rejections that matter least",
    ),
)
