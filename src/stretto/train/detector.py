"""Trains the detector of DAGCD: which tokens of a context an answer takes up, by what heads attend to (2501.01059).

item = Item(context=[…], question=[…], answer=[…])       # token ids; the model answers it rightly
steer = train_detector(engine, [item, …])                 # then: engine.generate(…, steers=[steer])
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from ..engine import Engine
from ..errors import InvalidRequest, Unsupported
from ..models.contract import Ability, Want
from ..models.reading import read
from ..steer.dagcd import Dagcd, shares


@dataclass(frozen=True, slots=True)
class Item:
    """A context, a question after it, and the answer, in token ids."""

    context: Sequence[int]
    question: Sequence[int]
    answer: Sequence[int]


def train_detector(
    engine: Engine, items: Sequence[Item], *, heads: int = 10, penalty: float = 1e-3, seed: int = 0
) -> Dagcd:
    """A logistic regression over all heads, then over the `heads` of the largest weights, as a steer.

    Looked at is the place where the answer begins: the tokens of the answer are to be told from as many others of the
    context. Raises Unsupported where the model tells no attention, InvalidRequest where no context holds its answer.
    """
    model = engine.model
    if Ability.ATTENTION not in model.abilities:
        raise Unsupported(f"{model.name} tells nothing of its attention", hint="use a model of known layers")
    every = tuple(product(range(model.layers), range(model.heads)))
    chance, rows, truths = random.Random(seed), [], []
    for item in items:
        ids, share = _attended(engine, item, every)
        right = [place for place, token in enumerate(ids) if token in set(item.answer)]
        wrong = [place for place in range(len(ids)) if place not in right]
        wrong = chance.sample(wrong, min(len(wrong), len(right)))
        rows += [share[:, place] for place in (*right, *wrong)]
        truths += [1.0] * len(right) + [0.0] * len(wrong)
    if len(set(truths)) < 2:
        raise InvalidRequest("no token of an answer stands in its context among others", hint="give other items")
    x, y = torch.stack(rows), torch.tensor(truths, dtype=torch.float64)
    weights, _ = fit(x, y, penalty)
    best = sorted(weights.abs().topk(min(heads, len(every))).indices.tolist())
    weights, bias = fit(x[:, best], y, penalty)
    return Dagcd(tuple(every[at] for at in best), tuple(weights.tolist()), bias)


def fit(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, float]:
    """Logistic regression of y [n] in {0, 1} by x [n, H], `penalty` times the squares of the weights beside the mean
    loss: weights [H] and bias. The loss is convex: Newton's method finds its one minimum."""
    ones = torch.cat([x.double(), x.new_ones(len(x), 1, dtype=torch.float64)], dim=1)
    held = torch.full((ones.shape[1],), 2 * penalty, dtype=torch.float64)
    held[-1] = 1e-9  # the bias is free
    found = torch.zeros(ones.shape[1], dtype=torch.float64)
    for _ in range(100):
        p = (ones @ found).sigmoid()
        slope = ones.T @ (p - y) / len(y) + held * found
        bend = ones.T @ (ones * (p * (1 - p))[:, None]) / len(y) + held.diag()
        step = torch.linalg.solve(bend, slope)
        found = found - step * min(1.0, 4.0 / float(step.norm().clamp(min=1e-12)))
        if float(step.norm()) < 1e-9:
            break
    return found[:-1], float(found[-1])


def _attended(engine: Engine, item: Item, heads: tuple[tuple[int, int], ...]) -> tuple[list[int], Tensor]:
    """Distinct tokens of the context, and what heads attend to them where the answer begins: U ids, [H, U]."""
    model, prompt = engine.model, engine.encode([*item.context, *item.question])
    cache = model.new_cache()
    for evaluation, _ in read(model, cache, cache.open(), prompt, Want(logits=False, attention=heads)):
        last = evaluation
    given = torch.stack([last.attention[head][0, -1, : len(item.context)] for head in heads])
    ids, share = shares(item.context, given)
    return ids.tolist(), share.cpu()
