"""Claims about what rounds can settle, in which order models go, and what is lost by writing several words at once."""

from __future__ import annotations

import math
from dataclasses import asdict

import torch

from ...diagnose.arness import Order, random_order
from ...diagnose.bits import bits_of
from ...diagnose.parallel import limits, replace_random_accuracy, shuffle_accuracy
from ...models.table import ExactJoint
from .canvas import CLOSE, ONE, QUICK, RIGHT, Filling, Work, told, written_down
from .contract import Claim, Figures, at_least, at_most, equal, falling
from .lab import Lab, Worked

BITS, COPIES = 3, 4
EXPLORING = "explore+look-ahead(32,more=1)+end-of-text"
JOINTS = 50  # random joint distributions of 4 of 3 tokens
WORDS = 5  # of ParallelBench's lists
FREELY = Work(count=2)


def copied_bits(lab: Lab) -> Figures:
    """Rounds, and nats that they settle, of fair bits each of which is written several times."""
    joint = torch.zeros((2,) * (BITS * COPIES), dtype=torch.float64)
    for number in range(2**BITS):
        drawn = [number >> bit & 1 for bit in range(BITS) for _ in range(COPIES)]
        joint[tuple(drawn)] = 1 / 2**BITS
    engine = written_down(ExactJoint(joint))
    figures: Figures = {}
    for name, method in (("waiting", "threshold(0.9)"), ("exploring", "explore(0.9)")):
        found = engine.generate([0], method, max_new_tokens=BITS * COPIES, end_tokens=())
        figures |= {f"rounds, {name}": float(found.counters.rounds), f"nats, {name}": bits_of(found.steps).total}
    return figures


def settled(lab: Lab) -> Figures:
    """One by one, what rounds settle is −ln p of the answer; and no answer takes fewer rounds than it settles allow."""
    furthest = 0.0
    for number in range(JOINTS):
        generator = torch.Generator().manual_seed(1000 * lab.seed + number)
        joint = (2 * torch.randn((3,) * 4, generator=generator, dtype=torch.float64)).exp()
        found = written_down(ExactJoint(joint)).generate(
            [0], "random-order", max_new_tokens=4, end_tokens=(), temperature=1.0, seed=number
        )
        exact = -math.log(joint[tuple(found.tokens)] / joint.sum())
        furthest = max(furthest, abs(bits_of(found.steps).total - exact))
    figures: Figures = {"furthest from −ln p": furthest}
    for name, method in (("threshold", QUICK), ("exploring", EXPLORING)):
        rows = [(each.counters.rounds, bits_of(each.steps)) for each in Work().by(lab, method).answers]
        figures[f"rounds over the bound, {name}, least"] = min(
            rounds / max(1.0, bits.least_rounds) for rounds, bits in rows
        )
        figures[f"nats a round, {name}"] = sum(bits.total for _, bits in rows) / sum(rounds for rounds, _ in rows)
    return figures


def directions(lab: Lab) -> Figures:
    """How often what is filled next is the leftmost mask: at two temperatures, and by chance."""
    figures: Figures = {}
    for name, temperature in (("T=0.2", 0.2), ("T=1.2", 1.2)):
        order = Order()
        for answer in FREELY.by(lab, "ranked(entropy)", temperature=temperature).answers:
            order.add([asdict(step) for step in answer.steps])
        figures |= {f"global, {name}": order.global_(1), f"local, {name}": order.local(2)}
    return figures | {"global, random order": random_order(FREELY.canvas, 1)}


def at_once(lab: Lab) -> Figures:
    """How likely a right answer is where whoever knows all conditionals writes all words at once, or one by one."""
    figures: Figures = {}
    for kind in ("copy", "sort", "replace-index", "replace-random", "any-order"):
        found = limits(kind, WORDS, lab.seed)
        figures |= {f"{kind}, at once": found.accuracy[1], f"{kind}, one by one": found.accuracy[found.positions]}
    return figures | {
        "any-order, formula": shuffle_accuracy([WORDS]),
        "replace-random, formula": replace_random_accuracy([WORDS]),
    }


def collapse(lab: Lab) -> Figures:
    """Questions whose answer is copied, and those whose answer is to be found: one token at a time, several, all."""
    sides = {"one by one": ONE, "4 a step": "low-confidence(steps=8)+blocks(32)", "at once": "threshold(0.0)"}
    found = {
        f"{name}, {side}": Work((kind,), count=12).by(lab, method)
        for name, kind in (("copying", "copy_edit"), ("sorting", "sorting"))
        for side, method in sides.items()
    }
    return told(found, ("right",))


CLAIMS = (
    Claim(
        "ete",
        "ete",
        "to find out what is least sure beside what is sure takes fewer rounds than to wait, at the same quality",
        f"{RIGHT}; rounds an answer",
        Filling({"one by one": ONE, "threshold": QUICK, "exploring": EXPLORING}),
        (
            at_most("rounds, exploring", 1 / 1.2, "rounds, threshold"),
            at_least("right, exploring", CLOSE, "right, threshold"),
        ),
        number=59,
        where_not="where this small model is least sure it is mostly wrong, and what follows from a wrong one is "
        "sure and wrong",
    ),
    Claim(
        "ete-bits",
        "ete",
        f"{BITS} bits, {COPIES} times each: {2 * BITS} rounds with a threshold, {BITS + 1} exploring, "
        "which settle as many nats",
        "rounds of one answer; nats that they settle",
        Worked(copied_bits, "`threshold(0.9)`, `explore(0.9)` on their joint distribution"),
        (
            equal("rounds, waiting", 2 * BITS),
            equal("rounds, exploring", BITS + 1),
            equal("nats, waiting", BITS * math.log(2)),
            equal("nats, exploring", BITS * math.log(2)),
        ),
        number=59,
    ),
    Claim(
        "bits-to-rounds",
        "ete",
        "rounds are at least what an answer holds over what one can settle; those of certainties alone settle little",
        "nats; rounds over the bound; nats a round",
        Worked(
            settled,
            f"`random-order` on {JOINTS} random joints of 4 of 3 tokens; `{QUICK}`, `{EXPLORING}` on {Work()}",
        ),
        (
            equal("furthest from −ln p", 0.0, 1e-9),
            at_least("rounds over the bound, threshold, least", 1.0),
            at_least("rounds over the bound, exploring, least", 1.0),
            at_least("nats a round, exploring", 1.0, "nats a round, threshold"),
        ),
        number=59,
    ),
    Claim(
        "ar-ness",
        "ar-ness",
        "masked models go from left to right more than chance would, and less so at a high temperature",
        "share of fills that are the leftmost mask (global) or follow the one before (local)",
        Worked(directions, f"`ranked(entropy)` at T=0.2 and T=1.2 on {FREELY}"),
        (
            at_least("global, T=0.2", 1.0, "global, random order"),
            at_least("global, T=0.2", 1.0, "global, T=1.2"),
            at_least("local, T=0.2", 1.0, "local, T=1.2"),
        ),
        number=219,
    ),
    Claim(
        "parallelbench",
        "parallelbench",
        "all words at once are right where one answer is right, and seldom where several are; one by one always",
        "probability of a right answer",
        Worked(at_once, f"lists of {WORDS} words, drawn from the true conditionals; all right answers enumerated"),
        (
            equal("copy, at once", 1.0),
            equal("any-order, at once", 0.0384),
            equal("replace-random, at once", 0.4096),
            equal("any-order, one by one", 1.0),
            equal("replace-random, one by one", 1.0),
            *falling("sort, at once", "replace-random, at once", "any-order, at once"),
        ),
        number=24,
    ),
    Claim(
        "parallelbench-trained",
        "parallelbench",
        "the more tokens a step, the less is right; copying suffers least",
        RIGHT,
        Worked(
            collapse, f"`{ONE}`, `low-confidence(steps=8)`, `threshold(0)` on 12 of gym:copy_edit, gym:sorting; T=0"
        ),
        (
            *falling("right, copying, one by one", "right, copying, 4 a step", "right, copying, at once"),
            *falling("right, sorting, one by one", "right, sorting, 4 a step", "right, sorting, at once"),
            at_most("right, sorting, at once", 1 / 2, "right, sorting, one by one"),
            at_least("right, copying, at once", 1.0, "right, sorting, at once"),
        ),
        number=24,
    ),
)
