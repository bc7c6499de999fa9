"""Small worlds in which laws are tried: table models, adversarial drafters, and a way to decode in them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import torch
from torch import Tensor

from ..context import Context
from ..models.cache import Cache
from ..models.clock import SimulatedClock
from ..models.contract import Evaluation, Want
from ..models.place import visibility
from ..models.table import TableModel
from ..models.window import Window
from ..row import Limits, Row
from ..speculate.acceptors.exact import Exact
from ..speculate.contract import Acceptor, Drafter, Drafting, DraftSession, Planner, Room
from ..speculate.loop import Loop, Speculate
from ..speculate.planners.fixed import Fixed
from ..steer.choice import Rule, choose
from ..steer.contract import Companion, Steer
from ..steer.nodes import Nodes
from ..steer.path import History, Path
from ..steer.pipeline import Pipeline
from ..steer.taps import Taps
from ..steer.temperature import Temperature
from ..tree import ROOT, NodeKind, Tree

GREEDY = Pipeline([Temperature(0.0)])
SOMEONE = Rule(GREEDY, seed=5)  # whose coins are tossed where nobody chooses
Guess = Callable[[Sequence[int], Room], Tree]
Rows = Callable[[tuple[int, ...]], Sequence[float]]
OTHER = "other"  # the name of a model that says what the first would say after a token 1 more
SAID = cache(TableModel.random(6, seed=9, order=3).rule)  # what companions say where no model is at hand


@dataclass(frozen=True)
class Guesser(Drafter):
    """A drafter that is one function of the committed tokens and the room."""

    guess: Guess
    name = "guesser"

    def begin(self, context: Context) -> Drafting:
        return Drafting(self, lambda row: GuesserSession(self.guess, row))


class GuesserSession(DraftSession):
    """It at work in one row."""

    def __init__(self, guess: Guess, row: Row) -> None:
        self.guess, self.tokens = guess, row.history.tokens

    def propose(self, room: Room) -> Tree:
        return self.guess(self.tokens, room)

    def fork(self, row: Row) -> DraftSession:
        return GuesserSession(self.guess, row)


def random_tree(tokens: Sequence[int], room: Room, vocabulary: int, seed: int = 0, size: int | None = None) -> Tree:
    """A tree of random shape and tokens with distinct siblings, the same for the same committed tokens."""
    chance = random.Random(f"{seed}/{list(tokens)}")
    tree = Tree()
    for _ in range(room.nodes if size is None else size):
        parent = chance.randrange(ROOT, len(tree))
        token = chance.randrange(vocabulary)
        depth = 1 if parent == ROOT else tree.depths[parent] + 1
        if tree.child_bearing(parent, token) is None and depth <= room.depth:
            tree.add(token, parent, source="random")
    return tree


def adversaries(vocabulary: int) -> dict[str, Drafter]:
    """Drafters that no acceptor may be impressed by."""
    return {
        "random tree": Guesser(lambda tokens, room: random_tree(tokens, room, vocabulary)),
        "random chain": Guesser(
            lambda tokens, room: Tree.chain(
                random.Random(str(list(tokens))).choices(range(vocabulary), k=min(room.nodes, room.depth))
            )
        ),
        "one token": Guesser(lambda tokens, room: Tree.chain([vocabulary - 1] * min(room.nodes, room.depth))),
        "nothing": Guesser(lambda tokens, room: Tree()),
        "one node": Guesser(lambda tokens, room: Tree.chain([len(tokens) % vocabulary])),
        "200 nodes": Guesser(lambda tokens, room: random_tree(tokens, Room(200, room.depth), vocabulary, size=200)),
        "riders": Guesser(lambda tokens, room: ridden(vocabulary, room)),
        "every token": Guesser(lambda tokens, room: broom(vocabulary, room.depth)),
    }


def ridden(vocabulary: int, room: Room) -> Tree:
    """Candidates with riders under them that bear likely tokens: riders must never be committed."""
    tree = Tree()
    for token in range(min(vocabulary - 1, room.nodes)):
        node = tree.add(token)
        rider = tree.add(0, node, proposal=NodeKind.RIDER)
        tree.add(1, rider, proposal=NodeKind.RIDER)
    return tree


def broom(vocabulary: int, depth: int) -> Tree:
    """Every token at every node down to `depth` (at most 3)."""
    tree, level = Tree(), [ROOT]
    for _ in range(min(depth, 3)):
        level = [tree.add(token, parent) for parent in level for token in range(vocabulary)]
    return tree


def seen(paths: Sequence[Path], logits: Tensor, steered: Steer | Pipeline, rule: Rows = SAID) -> Nodes:
    """Nodes with what a steer wants of its companions, each read anew along its path."""

    known: dict[tuple[int, ...], Sequence[float]] = {}

    def said(companion: Companion, path: Path) -> Sequence[float]:
        tokens, prompt = (*path.history.tokens, *path.drafted), path.history.prompt_length
        read = (*companion.before, *tokens[0 if companion.newest is None else max(0, prompt - companion.newest) :])
        if companion.model == OTHER:
            read = (*read, 1)
        if read not in known:
            known[read] = rule(read)
        return known[read]

    assert not steered.wants.inside
    companions = {
        companion: torch.tensor([said(companion, path) for path in paths], dtype=logits.dtype).view(logits.shape)
        for companion in steered.companions
    }
    return Nodes(paths, logits, Taps(companions=companions), [SOMEONE] * len(paths))


def decode(
    model: TableModel,
    prompts: Sequence[Sequence[int]],
    *,
    drafter: Drafter | None = None,
    acceptor: Acceptor | None = None,
    planner: Planner | None = None,
    pipeline: Pipeline = GREEDY,
    seed: int | Sequence[int] = 0,
    new_tokens: int | Sequence[int] = 12,
    ends: frozenset[int] = frozenset(),
    each_round: Callable[[Loop], None] = lambda loop: None,
) -> list[Row]:
    """Decode prompts side by side with the given parts, with one seed or one each; the finished rows, in order."""
    context = Context(model, SimulatedClock(), lambda name: model)
    method = Speculate(drafter, acceptor or Exact(), planner or Fixed(5))
    loop = method.loop(context, model.new_cache(rows=1, slots=4))
    limits = [new_tokens] * len(prompts) if isinstance(new_tokens, int) else new_tokens
    seeds = [seed] * len(prompts) if isinstance(seed, int) else seed
    rows = []
    for prompt, limit, own in zip(prompts, limits, seeds, strict=True):
        row = Row(History(prompt), loop.cache.open(), Rule(pipeline, own, 0), Limits(limit, ends))
        rows.append(row)
        loop.add(row)
    while loop.rows:
        loop.step()
        each_round(loop)
    return rows


def plainly(model: TableModel, prompt: Sequence[int], pipeline: Pipeline, seed: int, new_tokens: int) -> list[int]:
    """The slow reference: no cache, no tree, no loop; the rule of choice token by token."""
    history = History(prompt)
    for _ in range(new_tokens):
        logits = torch.tensor([model.rule(tuple(history.tokens))], dtype=torch.float64)
        history.extend(choose(Nodes([Path(history)], logits), [Rule(pipeline, seed, 0)]).tokens)
    return history.tokens[len(prompt) :]


def choice_functions(vocabulary: int, depth: int) -> Iterator[dict[tuple[int, ...], int]]:
    """Every way to choose one token after every path shorter than `depth`."""
    paths = [path for length in range(depth) for path in itertools.product(range(vocabulary), repeat=length)]
    for choices in itertools.product(range(vocabulary), repeat=len(paths)):
        yield dict(zip(paths, choices, strict=True))


def conditional(seed: int, path: tuple[int, ...], vocabulary: int) -> list[Fraction]:
    """A made-up next-token distribution with exact arithmetic."""
    chance = random.Random(f"{seed}/{path}")
    weights = [chance.randrange(1, 10) for _ in range(vocabulary)]
    return [Fraction(weight, sum(weights)) for weight in weights]


class LastTwo(TableModel):
    """A table over the last two tokens of the path, read for all slots at once: for laws over many decodes."""

    def __init__(self, vocabulary: int, seed: int, sharpness: float = 1.5) -> None:
        generator = torch.Generator().manual_seed(seed)
        size = (vocabulary + 1, vocabulary, vocabulary)  # the last row: there is no token before the last
        self.table = sharpness * torch.randn(size, generator=generator, dtype=torch.float64)
        lines = self.table.tolist()
        super().__init__(vocabulary, lambda path: lines[path[-2] if len(path) > 1 else vocabulary][path[-1]])

    def evaluate(self, window: Window, cache: Cache, want: Want = Want()) -> Evaluation:
        place = cache.place(window)
        tokens = window.tokens[:, None, :, None].to(torch.float64)  # [B, 1, T, 1]
        keys, _ = cache.append(0, tokens, tokens, place)  # [B, 1, S, 1]
        mask, size = visibility(place, cache), window.tokens.shape[1]
        positions = cache.positions(place)[:, None].expand(-1, size, -1)  # [B, T, S]
        seen = positions if mask is None else positions.masked_fill(~mask[:, 0], -1)
        cache.settle(place)
        if want.logits is False:
            return Evaluation()
        latest = seen.topk(min(2, seen.shape[2]), dim=-1)
        read = keys[:, 0, None, :, 0].long().expand_as(seen).gather(2, latest.indices)  # [B, T, 2]
        before = read[..., -1].masked_fill(latest.values[..., -1] < 0, self.vocabulary)
        logits = self.table[before if seen.shape[2] > 1 else self.vocabulary, read[..., 0]]
        if isinstance(want.logits, torch.Tensor):
            logits = logits.gather(1, want.logits[..., None].expand(-1, -1, self.vocabulary))
        return Evaluation(logits=logits)
