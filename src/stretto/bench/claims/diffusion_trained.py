"""Claims that want models trained for them: small ones of one task each, trained here when they are asked for.

See `stretto.train.specialists`. What is asked was held out from training.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...engine import Engine
from ...gym import actions, lists
from ...models.contract import masking_of
from ...models.window import Window
from ...train.specialists import WORDS, held_out, paths
from .contract import Claim, Figures, at_least, at_most
from .lab import Lab, Worked

CHUNKS = 128  # questions for the arm
LISTS = 200  # lists to sort, or to insert into
ROUNDS = 12  # published, for a chunk of 56
TOGETHER = (1, 4, 8)  # tokens a step
WAYS = {  # of writing a list: the model, and the order
    "plain": ("plain", "low-confidence"),
    "refined": ("refined", "revise"),
    "refined, written once": ("refined", "low-confidence"),
}

Ids = lists.Ids


def acted(lab: Lab) -> Figures:
    """How far chunks of actions are from the path, token after token and in twelve rounds."""
    questions, answers = held_out("actions", lab.seed, lab.count or CHUNKS)
    engines = lab.trained("actions")
    sides = {
        "one by one": (engines["causal"], "plain"),
        "second look": (engines["masked"], f"easy-first(steps={ROUNDS})"),
        "one look": (engines["masked"], f"easy-first(steps={ROUNDS},most=0)"),
    }
    figures: Figures = {}
    for name, (engine, method) in sides.items():
        found = engine.generate(
            questions.tolist(),
            method,
            max_new_tokens=actions.CHUNK,
            banned_tokens=list(range(actions.BINS, len(WORDS))),
            end_tokens=(),
        )
        tokens = np.array([each.tokens for each in found])
        figures[f"squared error, {name}"] = float(paths().error(tokens, answers).mean())
        figures[f"rounds, {name}"] = sum(each.counters.rounds for each in found) / len(found)
    return figures


def listed(lab: Lab) -> Figures:
    """Lists written several tokens a step: by the plain model, and by the one that learnt to correct, correcting."""
    questions, answers = held_out("lists", lab.seed, lab.count or LISTS)
    engines = lab.trained("lists")
    figures: Figures = {}
    for count in TOGETHER:
        steps = -(-lists.LENGTH // count)
        for name, (model, order) in WAYS.items():
            found = engines[model].generate(
                questions.tolist(), f"{order}(steps={steps})", max_new_tokens=lists.LENGTH, end_tokens=()
            )
            right = [each.tokens == answer for each, answer in zip(found, answers.tolist(), strict=True)]
            figures[f"right at {count}, {name}"] = sum(right) / len(right)
    return figures


def corrected(lab: Lab) -> Figures:
    """One wrong token in an answer that is otherwise right: what one step that rewrites all of it makes of that."""
    questions, answers = held_out("lists", lab.seed, lab.count or LISTS)
    spoilt, rows = answers.copy(), np.arange(len(answers))
    rng = np.random.default_rng([2, lab.seed])
    at = rng.integers(lists.LENGTH, size=len(rows))
    spoilt[rows, at] = (answers[rows, at] + rng.integers(1, lists.NUMBERS, size=len(rows))) % lists.NUMBERS
    figures: Figures = {}
    for name, engine in lab.trained("lists").items():
        if name in ("plain", "refined"):
            best = reread(engine, np.concatenate([questions, spoilt], 1))[:, -lists.LENGTH :]
            figures[f"the token, {name}"] = float((best == answers)[rows, at].mean())
            figures[f"the answer, {name}"] = float((best == answers).all(1).mean())
    return figures


@torch.inference_mode()
def reread(engine: Engine, canvases: Ids) -> Ids:
    """The likeliest token at each place of whole canvases [N, T], which the model sees as they are."""
    model, masking = engine.model, masking_of(engine.model)
    assert masking is not None, "a model that continues text reads no canvas again"
    cache = model.new_cache(*canvases.shape)
    rows = [cache.open() for _ in canvases]
    window = Window.chain(rows, canvases.tolist(), [0] * len(rows), model.device)
    window.everyone = True
    logits: Tensor | None = model.evaluate(window, cache).logits
    assert logits is not None
    sources = [masking.source(place) for place in range(canvases.shape[1])]
    return logits.argmax(-1)[:, sources].cpu().numpy()


CLAIMS = (
    Claim(
        "discrete-diffusion-vla",
        "discrete-diffusion-vla",
        "12 evaluations instead of 56, one a token, at no loss; a second look at what has become doubtful helps",
        "mean squared error of a chunk of 56 actions; rounds a chunk",
        Worked(
            acted,
            f"`easy-first(steps={ROUNDS})`, with and without a second look, beside `plain` on a causal model of the "
            f"same size and training; {CHUNKS} chunks of {actions.STEPS} steps of {actions.JOINTS} joints, T=0",
        ),
        (
            at_most("rounds, second look", ROUNDS / actions.CHUNK, "rounds, one by one"),
            at_most("squared error, second look", 1.0, "squared error, one by one"),
            at_most("squared error, second look", 0.999, "squared error, one look"),
        ),
        number=27,
        where_not="after as many steps of training the causal model is nearer to the path: filling masks is slower to "
        "learn; the second look does help",
    ),
    Claim(
        "rediff",
        "rediff",
        "several tokens a step stay right where the model learnt to correct, and writes over what it sees is wrong",
        "share of lists that are right, at 1, 4 and 8 tokens a step",
        Worked(
            listed,
            "`low-confidence` on a plain model; `revise`, and `low-confidence`, on one that learnt to correct, trained "
            "for as many steps; "
            f"{LISTS} lists of {lists.LENGTH} numbers to sort or to insert into, T=0",
        ),
        (
            at_least("right at 4, refined", 1.0, "right at 4, plain"),
            at_least("right at 8, refined", 1.05, "right at 8, plain"),
            at_least("right at 1, refined", 0.95, "right at 1, plain"),
        ),
        number=14,
        where_not="after as much training a model of this size fills masks less well where it learnt to correct "
        "besides",
    ),
    Claim(
        "rediff-correction",
        "rediff",
        "a wrong token in an otherwise right answer is corrected in one step; a plain model cannot",
        "share of answers with one wrong token that are right after it is read again: the token, and the whole answer",
        Worked(corrected, f"one step that rewrites all, on {LISTS} lists of {lists.LENGTH} numbers"),
        (at_least("the answer, refined", 0.8), at_most("the answer, plain", 0.05)),
        number=14,
        where_not="the row before a position speaks of it: even a plain model finds the right token there, but it "
        "rewrites right ones too, and the refined one still does so now and then",
    ),
)
