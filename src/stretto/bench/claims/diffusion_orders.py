"""Claims about which positions are filled in a step: quicker than one by one, and as right."""

from __future__ import annotations

import torch

from ...generation import Generation
from ...models.table import ExactJoint
from .canvas import CLOSE, ONE, QUICK, RIGHT, Filling, Work, written_down
from .contract import Claim, Figures, at_least, at_most, equal, falling
from .lab import Lab, Worked

COST = f"{RIGHT}; rounds an answer"
JOINTS = 200  # random joint distributions
LENGTH, TOKENS = 4, 3  # of the texts that they are of
SHARPNESS = 3.0  # standard deviation of their logarithms


def modes(lab: Lab) -> Figures:
    """Of all steps that fill several positions, the share whose tokens are together the likeliest ones."""
    figures: Figures = {}
    for name, method in (("factor", "factor(1)"), ("threshold 0.5", "threshold(0.5)")):
        likeliest: list[bool] = []
        for number in range(JOINTS):
            generator = torch.Generator().manual_seed(1000 * lab.seed + number)
            joint = torch.randn((TOKENS,) * LENGTH, generator=generator, dtype=torch.float64)
            joint = (SHARPNESS * joint).flatten().softmax(0).view(joint.shape)
            found = written_down(ExactJoint(joint)).generate([0], method, max_new_tokens=LENGTH, end_tokens=())
            likeliest += steps_at_the_mode(joint, found)
        figures[name] = sum(likeliest) / max(1, len(likeliest))
    return figures


def steps_at_the_mode(joint: torch.Tensor, found: Generation) -> list[bool]:
    """For each step that fills several positions: whether no other tokens are likelier there, given those before."""
    known: dict[int, int] = {}
    verdicts: list[bool] = []
    for step in found.steps:
        filled = {at - 1: token for at, token in zip(step.positions, step.committed, strict=True)}
        if len(filled) > 1:
            left = joint[tuple(known.get(at, slice(None)) for at in range(joint.dim()))]
            rest = [at for at in range(joint.dim()) if at not in known]
            others = tuple(axis for axis, at in enumerate(rest) if at not in filled)
            masses = left.sum(others) if others else left
            chosen = masses[tuple(filled[at] for at in rest if at in filled)]
            verdicts.append(bool(chosen >= masses.max() - 1e-12))
        known |= filled
    return verdicts


QUICKER = {"one by one": ONE, "threshold": QUICK}
CLAIMS = (
    Claim(
        "llada",
        "llada",
        "filling the surest positions first answers better than filling them at random",
        RIGHT,
        Filling(
            {"low-confidence": "low-confidence(steps=16)+blocks(32)", "random": "random-order(steps=16)+blocks(32)"},
            ("right",),
        ),
        (at_least("right, low-confidence", 1.1, "right, random"),),
    ),
    Claim(
        "dream",
        "dream",
        "on puzzles, in as many steps, entropy and margin choose better than probability, and all better than chance",
        RIGHT,
        Filling(
            {
                "entropy": "ranked(entropy,steps=12)",
                "margin": "ranked(margin,steps=12)",
                "probability": "ranked(probability,steps=12)",
                "chance": "random-order(steps=12)",
            },
            ("right",),
            Work(("sudoku",), count=20),
        ),
        (
            *falling("right, margin", "right, probability", "right, chance"),
            at_least("right, entropy", 1.0, "right, probability"),
        ),
        where_not="entropy, margin and probability differ by a puzzle or two; all are far above chance",
    ),
    Claim(
        "fast-dllm",
        "fast-dllm",
        "all sure positions at once: several times fewer rounds at nearly the same accuracy",
        COST,
        Filling(QUICKER | {"factor": "factor+blocks(32)+end-of-text"}),
        (
            at_most("rounds, threshold", 1 / 2, "rounds, one by one"),
            at_most("rounds, factor", 1 / 2, "rounds, one by one"),
            at_least("right, threshold", CLOSE, "right, one by one"),
            at_least("right, factor", CLOSE, "right, one by one"),
        ),
        number=136,
        where_not="at .9 this small twin is still wrong too often; a threshold of .995 keeps what one by one is "
        "right, in a fifth of the rounds (benchmarks.md)",
    ),
    Claim(
        "fast-dllm-theorem",
        "fast-dllm",
        "where (n + 1)(1 − c) < 1, what is filled together is what is together the likeliest",
        "share of steps that fill several positions with their likeliest tokens",
        Worked(
            modes, f"`factor(1)`, `threshold(0.5)` on {JOINTS} random joints of {LENGTH} of {TOKENS} tokens; greedy"
        ),
        (equal("factor", 1.0), at_most("threshold 0.5", 0.999)),
        number=136,
    ),
    Claim(
        "dimple",
        "dimple",
        "a third as many rounds as there are tokens; computing the prompt once saves 1.5 to 7 times",
        f"{RIGHT}; rounds a token; token-forwards an answer",
        Filling(
            {"prompt each time": "confident+end-of-text", "prompt once": "confident+prefill+end-of-text"},
            ("right", "rounds a token", "token-forwards"),
        ),
        (
            at_most("rounds a token, prompt once", 1 / 2),
            at_most("token-forwards, prompt once", 1 / 1.5, "token-forwards, prompt each time"),
            at_least("right, prompt once", CLOSE, "right, prompt each time"),
        ),
        number=255,
    ),
    Claim(
        "local-leap",
        "local-leap",
        "beside sure positions less will do: 14 % of the steps, fewer than with a threshold alone",
        COST,
        Filling(QUICKER | {"leaps": "local-leap+blocks(32)+end-of-text"}),
        (
            at_most("rounds, leaps", 1.0, "rounds, threshold"),
            at_most("rounds, leaps", 1 / 3, "rounds, one by one"),
            at_least("right, leaps", CLOSE, "right, one by one"),
        ),
        number=8,
        where_not="tokens that are filled at a confidence of .75 to .9 are right far more rarely than those that a "
        "threshold of .9 fills; in an answer of twenty tokens one wrong one is enough",
    ),
    Claim(
        "ccd",
        "ccd-ds",
        "positions that agree over several contexts go together: up to 3.48 times fewer steps, and more is right",
        COST,
        Filling(
            {
                "one by one": ONE,
                "coherent": "coherent(adaptive=false)+blocks(32)+end-of-text",
                "coherent, as many as agree": "coherent+blocks(32)+end-of-text",
            }
        ),
        (
            at_most("rounds, coherent, as many as agree", 1 / 1.3, "rounds, one by one"),
            at_least("right, coherent", 1.0, "right, one by one"),
            at_least("right, coherent, as many as agree", CLOSE, "right, one by one"),
        ),
        number=37,
        where_not="one question of 24 more goes wrong by means over contexts, two where as many positions as agree are "
        "filled at once: agreement is not yet certainty in so small a model",
    ),
    Claim(
        "credit-decoding",
        "credit-decoding",
        "credit for having been right before makes tokens sure sooner: fewer rounds at the same threshold, as right",
        COST,
        Filling(QUICKER | {"credit": "threshold+blocks(32)+credit+end-of-text"}),
        (
            at_most("rounds, credit", 1.0, "rounds, threshold"),
            at_least("right, credit", CLOSE, "right, threshold"),
        ),
        number=249,
        where_not="the tokens that credit lifts over the threshold are right more rarely than those above it, and one "
        "wrong token spoils an answer",
    ),
    Claim(
        "r2-dllm",
        "r2-dllm",
        "up to 88 % fewer steps: rules for clusters, echoes and what stays the same save rounds beyond a threshold",
        COST,
        Filling(QUICKER | {"rules": "redundancy+blocks(32)+end-of-text"}),
        (
            at_most("rounds, rules", 1.0, "rounds, threshold"),
            at_most("rounds, rules", 1 / 2, "rounds, one by one"),
            at_least("right, rules", CLOSE, "right, one by one"),
        ),
        number=64,
        where_not="the tokens that the rules fill at a confidence of .75 to .9 are right more rarely than those that a "
        "threshold of .9 fills, and one wrong token spoils an answer",
    ),
)
