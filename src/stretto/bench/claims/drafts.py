"""Claims of draft models, of the trees they grow, and of the planners that shape them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from ...diagnose.theory import tokens_per_round
from ...models.clock import SimulatedClock
from ...speculate.planners.sequoia import BestTrees
from ...speculate.planners.smartspec import best_lengths
from .contract import Claim, Figures, at_least, equal, falling
from .lab import OPEN, Decoding, Lab, Race, Score, Worked
from .overlap import Workers, in_turn, plainly, side_by_side

SOLVED = ("gym:worked_arithmetic", "gym:sql", "gym:story", "gym:python_function")
TEXTS = ("replay:gsm8k", "replay:mbpp", "replay:stories")  # where the draft is often unsure
TAU = "tokens per round"
LEVEL = 0.1  # what a forward of the draft costs, in forwards of the target, on simulated clocks


def priced(score: Score) -> float:
    """Tokens per target forward's time, where large windows cost nothing extra and a draft forward `LEVEL`."""
    return score.priced(0.0, LEVEL)


def chain(lab: Lab) -> Figures:
    """τ of a chain of 4, and what the formula makes of the acceptance rate."""
    score = lab.score("sampled+rejection+fixed(4)", OPEN, temperature=1.0, count=6, max_new_tokens=96)
    judged = score.counters.accepted + score.refused
    rate = score.counters.accepted / max(1, judged)
    return {"τ": score.tokens_per_round, "by the formula": tokens_per_round(rate, 4), "acceptance": rate}


def random_tree(chance: random.Random, rates: Sequence[float], nodes: int) -> float:
    """Expected committed tokens of a tree of so many nodes, the root included, grown at random."""
    values, children = [1.0], [0]
    while len(values) < nodes:
        parent = chance.randrange(len(values))
        if children[parent] < len(rates):
            values.append(values[parent] * rates[children[parent]])
            children.append(0)
            children[parent] += 1
    return sum(values)


def best_trees(lab: Lab) -> Figures:
    """F of the dynamic programme for acceptance .6, .2, .1, and of the best of 1,000 random trees of 16 nodes."""
    rates = (0.6, 0.2, 0.1)
    found = BestTrees(rates, 16, 16).expected.max(0)
    chance = random.Random(lab.seed)
    best = max(random_tree(chance, rates, 16) for _ in range(1000))
    return {"3 nodes": found[3], "7 nodes": found[7], "16 nodes": found[16], "best of 1,000 random": best}


def overlapped(lab: Lab) -> Figures:
    """Speed over plain decoding where the draft is right 80 % of the time and costs a fifth of the target."""

    def target(text: Sequence[int]) -> int:
        return random.Random(len(text)).randrange(1000)

    def draft(text: Sequence[int]) -> int:
        return target(text) if random.Random(-len(text)).random() < 0.8 else -1

    workers = Workers(target, draft, SimulatedClock(1.0, 0.0), SimulatedClock(0.2, 0.0))
    plain = plainly(workers, [0], 2000).seconds
    turns = max(plain / in_turn(workers, [0], 2000, length).seconds for length in range(1, 9))
    return {"pearl": plain / side_by_side(workers, [0], 2000, 5).seconds, "in turn, best length": turns, "plain": 1.0}


def goodput(lab: Lab) -> Figures:
    """Tokens per second at loads of 1 to 64 rows, acceptance .4 to .9, by the rule and by fixed lengths.

    A window costs 1 until 32 tokens are in it and then in proportion; a drafted token .05.
    """
    lengths = (0, 1, 3, 5)
    worst, free, loaded = math.inf, 0.0, 0.0
    for rows in (1, 4, 8, 16, 32, 64):
        for rate in (0.4, 0.6, 0.8, 0.9):

            def verify(k: int, rows: int = rows) -> float:
                return max(1.0, rows * (k + 1) / 32)

            def speed(chosen: Sequence[int], rate: float = rate, rows: int = rows) -> float:
                tokens = sum(tokens_per_round(rate, k) for k in chosen)
                return tokens / (verify(max(chosen)) + 0.05 * sum(chosen) / rows)

            chosen = best_lengths([rate] * rows, [8] * rows, verify, 0.05 / rows)
            worst = min(worst, speed(chosen) / max(speed([k] * rows) for k in lengths))
            free = max(free, sum(chosen) / rows) if rows == 1 else free
            loaded = max(loaded, sum(chosen) / rows) if rows == 64 else loaded
    return {"smartspec over the best fixed length": worst, "length at 1 row": free, "length at 64 rows": loaded}


def lengths(lab: Lab) -> Figures:
    """Tokens per unit of a simulated clock: the best threshold, the best fixed length."""

    def best(texts: Sequence[str]) -> float:
        return max(priced(lab.score(text, SOLVED, temperature=0.0, count=3, max_new_tokens=96)) for text in texts)

    return {
        "specdec": best([f"draft+specdec({h})" for h in (0.3, 0.5, 0.7)]),
        "fixed": best([f"draft+fixed({k})" for k in (2, 4, 6, 8)]),
    }


def levels(lab: Lab) -> Figures:
    """Tree against hierarchy, on a clock where large windows are free and on one where they are not."""
    sides = {
        "tree": "draft-tree+fixed(60,depth=6)",
        "hierarchy": "hierarchy(recycle)+fixed(10)",
    }
    figures: Figures = {}
    for name, text in sides.items():
        score = lab.score(text, SOLVED, temperature=0.0, count=3, max_new_tokens=96)
        figures[f"{name}, free windows"] = score.priced(0.0, LEVEL)
        figures[f"{name}, costly windows"] = score.priced(0.03, LEVEL)
    return figures


CLAIMS = (
    Claim(
        "speculative-sampling",
        "speculative-sampling",
        "2 to 3 ×; τ follows (1 − aᵞ⁺¹)/(1 − a) of the acceptance rate a",
        TAU,
        Worked(chain, f"`sampled+rejection+fixed(4)` on {', '.join(OPEN)}; T=1, 6 of each"),
        (at_least("τ", 0.95, "by the formula"), at_least("by the formula", 0.95, "τ"), at_least("τ", 1.5)),
    ),
    Claim(
        "dynamic-tree",
        "dynamic-tree",
        "a tree shaped by the draft's confidence accepts more than a static one of as many nodes",
        TAU,
        Decoding(
            {"dynamic": "draft-tree+fixed(24,depth=6)", "static": "rsd-c(3,2,1,1,1)+exact+fixed(27,depth=6)"}, SOLVED
        ),
        (at_least("dynamic", 1.0, "static"),),
    ),
    Claim(
        "sequoia",
        "sequoia",
        "the best static tree by dynamic programming: 1.6 expected tokens with one drafted node … 2.6 with six",
        "expected tokens per round",
        Worked(best_trees, "the programme itself on acceptance .6, .2, .1 by rank; 1,000 random trees of 16 nodes"),
        (equal("3 nodes", 1.96), equal("7 nodes", 2.6256), at_least("16 nodes", 1.0, "best of 1,000 random")),
    ),
    Claim(
        "sequoia-drawn",
        "sequoia",
        "its tree accepts more than one of constant branching in as many nodes",
        TAU,
        Decoding(
            {
                "sequoia": "rsd-c+recursive+sequoia(most=16,depth=6)",
                "constant": "rsd-c(2,2,1,1)+recursive+fixed(16,depth=6)",
            },
            OPEN,
            temperature=0.6,
            count=6,
        ),
        (at_least("sequoia", 1.0, "constant"),),
    ),
    Claim(
        "rsd",
        "rsd-stochastic",
        "without replacement beats independent draws, and a stochastic beam beats constant branching, at equal nodes",
        TAU,
        Decoding(
            {
                "stochastic": "rsd-s(4)+recursive+fixed(16,depth=4)",
                "constant": "rsd-c(2,2,1,1)+recursive+fixed(16,depth=4)",
                "independent": "iid(2,2,1,1)+multi+fixed(16,depth=4)",
                "chain": "sampled+rejection+fixed(4)",
            },
            OPEN,
            temperature=1.0,
            count=12,
        ),
        falling("stochastic", "constant", "independent", "chain"),
        number=31,
    ),
    Claim(
        "specinfer",
        "specinfer-expansion",
        "a tree that branches in three at its third level accepts 10 to 30 % more than a chain of the same depth",
        TAU,
        Decoding(
            {"tree": "iid(1,1,3,1,1)+specinfer+fixed(11,depth=5)", "chain": "sampled+rejection+fixed(5)"},
            OPEN,
            temperature=1.0,
            count=12,
        ),
        (at_least("tree", 1.05, "chain"),),
        number=85,
        where_not="the tree differs at its third level, which a fifth of the rounds reach: .43 of the drafted tokens "
        "are accepted. There, three draws are accepted at .58, at .62 by the best of all rules: 3 % in all",
    ),
    Claim(
        "spectr",
        "spectr",
        "eight drafts selected by optimal transport give 1.37 × the tokens per round of one",
        TAU,
        Decoding(
            {"8 drafts": "iid(8,1,1,1,1,1,1,1)+k-seq+fixed(64,depth=8)", "1 draft": "sampled+rejection+fixed(8)"},
            OPEN,
            temperature=1.0,
            count=6,
        ),
        (at_least("8 drafts", 1.2, "1 draft"),),
        number=195,
    ),
    Claim(
        "hierspec",
        "hierspec",
        "where wide windows are costly (4-bit weights), a chain by a model in the middle beats the tree 1.31 ×",
        "tokens per target forward's time on simulated clocks",
        Worked(levels, f"`draft-tree+fixed(60,depth=6)`; `hierarchy(recycle)+fixed(10)` on {', '.join(SOLVED)}; T=0"),
        (
            at_least("hierarchy, costly windows", 1.0, "tree, costly windows"),
            at_least("tree, free windows", 1.0, "hierarchy, free windows"),
        ),
        number=33,
    ),
    Claim(
        "pearl",
        "pearl",
        "1.52 × ordinary speculation by letting draft and target work at the same time",
        "speed over plain decoding on simulated clocks",
        Worked(overlapped, "both schemes on two workers: a draft right 80 % of the time, at a fifth of the cost"),
        (at_least("pearl", 1.2, "in turn, best length"), at_least("in turn, best length", 1.0, "plain")),
        number=36,
    ),
    Claim(
        "graft",
        "graft",
        "drafting less and filling up with recycled tokens is 21.8 % faster than the full tree, at equal nodes",
        "tokens per target forward's time on a simulated clock (a draft level costs a tenth)",
        Decoding(
            {
                "graft": "graft(draft-tree,recycle)+fixed(60,depth=7)",
                "model's tree": "draft-tree+fixed(60,depth=7)",
            },
            TEXTS,
            of=priced,
        ),
        (at_least("graft", 1.0, "model's tree"),),
        number=69,
    ),
    Claim(
        "specdec-pp",
        "specdec-pp",
        "stopping where a rejection is likely is 7 to 11 % faster than the best fixed length",
        "tokens per target forward's time on a simulated clock (a draft token costs a tenth)",
        Worked(
            lengths, f"`draft+specdec(h)`, h .3, .5, .7; `draft+fixed(k)`, k 2, 4, 6, 8 on {', '.join(SOLVED)}; T=0"
        ),
        (at_least("specdec", 1.03, "fixed"),),
        number=23,
    ),
    Claim(
        "opt-tree",
        "opt-tree",
        "the tree of greatest expected length beats fixed trees of as many nodes, and grows with them",
        TAU,
        Decoding(
            {
                "opt-tree, 50 nodes": "draft-tree(width=50)+opt-tree(50)",
                "opt-tree, 20 nodes": "draft-tree(width=20)+opt-tree(20)",
                "static, 50 nodes": "rsd-c(5,3,1,1)+exact+fixed(50,depth=6)",
            },
            SOLVED,
            count=3,
        ),
        (
            at_least("opt-tree, 50 nodes", 1.0, "opt-tree, 20 nodes"),
            at_least("opt-tree, 50 nodes", 1.0, "static, 50 nodes"),
        ),
        number=95,
    ),
    Claim(
        "dyspec",
        "dyspec",
        "trees grown where acceptance is likeliest accept more than Sequoia's, independent draws, chains",
        TAU,
        Decoding(
            {
                "dyspec": "dyspec(layered=false)+recursive+fixed(32,depth=8)",
                "sequoia": "rsd-c+recursive+sequoia(most=32,depth=8)",
                "independent": "iid(4,2,1,1)+multi+fixed(32,depth=8)",
                "chain": "sampled+rejection+fixed(8)",
            },
            OPEN,
            temperature=0.6,
            count=6,
        ),
        falling("dyspec", "sequoia", "independent", "chain"),
        number=247,
    ),
    Claim(
        "propd",
        "propd",
        "a tree sized by measured time is 1.1 to 3.2 × as fast as a large fixed one",
        "speed over plain decoding",
        Race({"propd": "draft-tree+propd", "64 nodes": "draft-tree+fixed(64,depth=6)"}, SOLVED[:2]),
        (at_least("propd", 1.1, "64 nodes"),),
        number=114,
    ),
    Claim(
        "smartspec",
        "smartspec",
        "the length of best goodput is as good as the best fixed one at every load, and goes to none under load",
        "goodput on simulated clocks",
        Worked(goodput, "the rule itself at 1 to 64 rows, acceptance .4 to .9, against lengths 0, 1, 3, 5"),
        (
            at_least("smartspec over the best fixed length", 0.999),
            at_least("length at 1 row", 3.0),
            equal("length at 64 rows", 0.0),
        ),
        number=258,
    ),
)
