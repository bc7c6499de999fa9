"""Laws of layers of the target that guess, on a small random network as each path drives it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import torch

from ..context import Context
from ..models.clock import SimulatedClock
from ..models.contract import Model, Want
from ..models.reading import skip
from ..models.window import Window
from ..parts import describe_part
from ..row import Limits, Row
from ..speculate.inside.contract import Layers
from ..speculate.inside.source import Inside, InsideRow
from ..steer.choice import Rule
from ..steer.path import History
from ..steer.pipeline import Pipeline
from ..steer.temperature import Temperature
from ..tree import ROOT
from .inside import PROMPTS, VOCABULARY, engine

if TYPE_CHECKING:
    from torch import Tensor

GREEDY = Pipeline([Temperature(0.0)])
WAYS = (
    "draft({})+fixed(4)",
    "sampled({})+fixed(4)",
    "draft-tree(width=3,model={})+fixed(9,depth=4)",
    "fuse(draft({}),lookup)",
)
NEAR = 1e-4


def it_changes_no_token(layers: Layers, way: str, driven: str = "fast", **request: Any) -> None:
    """Alone, in a batch and in samples: the tokens are those of plain decoding, whatever the layers say."""
    of, method = engine(driven), way.format(describe_part(layers))
    asked: dict[str, Any] = {"max_new_tokens": 12, "end_tokens": (), **request}
    prompts = [list(prompt) for prompt in PROMPTS]
    plain = [answer.tokens for answer in of.generate(prompts, "plain", samples=2, **asked)]
    assert [answer.tokens for answer in of.generate(prompts, method, samples=2, **asked)] == plain
    alone = of.generate(prompts[0], method, **asked)
    assert alone.tokens == plain[0]
    assert alone.counters.drafted > 0


def they_say_what_they_say_alone(layers: Layers, model: Model) -> None:
    """Over rounds that accept some of what was drafted, in rows and in forks: the logits after any nodes are those of
    the target's reading of what is committed, of which the newest token and the nodes pass through these layers only.
    """
    chance = random.Random(1)
    held: Any = model.new_cache()
    source = Inside(Context(model, SimulatedClock(), lambda name: model, cache=held), layers)
    rows = [Row(History(_drawn(chance, size)), held.open(), Rule(GREEDY, 0, 0), Limits(99)) for size in (1, 9)]
    drafts = [source.open(row) for row in rows]
    for turn in range(3):
        for row in rows:
            unread = row.history.tokens[held.following(row.cache_row) : -1]
            skip(model, held, row.cache_row, unread)
        places = [_drafted(draft, chance) for draft in drafts]
        for _ in range(2):
            wanted = [chance.choices(nodes, k=chance.randint(1, 3)) for nodes in places]
            lines = iter(source.read(drafts, wanted))
            for draft, nodes in zip(drafts, wanted, strict=True):
                for node in nodes:
                    history = draft.row.history.tokens
                    path = [*history, *draft.path(node).drafted]
                    alone = read_alone(model, draft.chosen.kept, path, len(history) - 1)
                    torch.testing.assert_close(next(lines), alone, atol=NEAR, rtol=NEAR)
            assert next(lines, None) is None
        for draft in drafts:
            committed = [*draft.path(chance.randrange(ROOT, len(draft.tokens))).drafted, *_drawn(chance, 1)]
            draft.row.history.extend(committed)
            draft.advance(committed)
        if turn == 0:
            twin = Row(rows[1].history.fork(), held.fork(rows[1].cache_row)[0], rows[1].rule, rows[1].limits)
            rows.append(twin)
            drafts.append(drafts[1].fork(twin))


def _drawn(chance: random.Random, count: int) -> list[int]:
    return [chance.randrange(VOCABULARY) for _ in range(count)]


def _drafted(draft: InsideRow, chance: random.Random) -> list[int]:
    """A few nodes below the newest token, which is one of those handed back."""
    assert draft.begin() > 0
    nodes = [ROOT]
    for token in _drawn(chance, 6):
        nodes.append(draft.node(token, chance.choice(nodes[-3:])))
    return nodes


def read_alone(model: Model, kept: tuple[int, ...], tokens: list[int], whole: int) -> Tensor:
    """Logits [V] after tokens of which the first `whole` passed through all layers: nothing is shared or kept."""
    cache: Any = model.new_cache()
    row = cache.open()
    if whole:
        model.evaluate(Window.chain([row], [tokens[:whole]], [0], model.device), cache, Want(logits=False))
    rows = None
    for layer in kept:
        window = Window.chain([row], [tokens[whole:]], [whole], model.device)
        window.layers, window.hidden = (layer, layer + 1), rows
        rows = model.evaluate(window, cache, Want(logits=False, hidden=(layer + 1,))).hidden[layer + 1]
    assert rows is not None
    return model.read_out(rows)[0, -1]
