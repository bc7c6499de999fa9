"""Laws of heads that draft: training computes what serving does, and no token depends on any of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..loop import Method
from ..models.contract import Want
from ..models.heads.contract import Around, Asked, DraftHead, LayerHead, RowHead
from ..models.heads.files import KINDS
from ..models.heads.target import bound
from ..models.window import Window
from ..speculate.acceptors.exact import Exact
from ..speculate.drafters.model import DraftModel
from ..speculate.drafters.sampled import Sampled
from ..speculate.drafters.tree import DraftTree
from ..speculate.loop import Speculate
from ..speculate.planners.fixed import Fixed
from .inside import CHANNELS, VOCABULARY, engine

LAYERS, SIZE, DEPTH = 3, 12, 4
NEAR = 1e-4
ASKED: dict[str, Any] = {"max_new_tokens": 8, "end_tokens": ()}
PROMPTS = ((5, 9, 11, 5, 9, 11, 7), (3,), (7, 7, 8, 2))


def fresh_head(kind: str, chance: torch.Generator) -> DraftHead:
    """An untrained one for the small network of `inside.engine`."""
    settings = KINDS[kind].suiting(engine("fast").model, DEPTH)
    return KINDS[kind].fresh(CHANNELS, VOCABULARY, LAYERS, chance, **settings)


def random_head(kind: str, seed: int = 0, scale: float = 0.1) -> DraftHead:
    """One of random weights."""
    chance = torch.Generator().manual_seed(seed)
    head = fresh_head(kind, chance)
    for name, tensor in head.tensors.items():
        head.tensors[name] = tensor + scale * torch.randn(tensor.shape, generator=chance)
    return head


def methods(head: DraftHead) -> dict[str, Method]:
    """Drafters that take a head: a chain, a chain that is drawn, a tree."""
    chain, tree = Fixed(4), Fixed(9, depth=4)
    return {
        "draft": Speculate(DraftModel(head), Exact(), chain),
        "sampled": Speculate(Sampled(head), Exact(), chain),
        "draft-tree": Speculate(DraftTree(3, model=head), Exact(), tree),
    }


def around(seed: int = 0) -> Around:
    """A target of random matrices."""
    chance = torch.Generator().manual_seed(seed)
    table, weight = (torch.randn(VOCABULARY, CHANNELS, generator=chance) for _ in range(2))

    def norm(rows: Tensor) -> Tensor:
        return rows * (rows.square().mean(-1, keepdim=True) + 1e-6).rsqrt()

    return Around(lambda tokens: F.embedding(tokens, table), norm, lambda rows: F.linear(rows, weight), LAYERS)


def _text(head: DraftHead, seed: int) -> tuple[Tensor, list[int]]:
    """Rows [T, k · C] and tokens [T + 1]."""
    chance = torch.Generator().manual_seed(seed)
    width = CHANNELS * len(head.taps(LAYERS))
    tokens = torch.randint(VOCABULARY, (SIZE + 1,), generator=chance).tolist()
    return torch.randn(SIZE, width, generator=chance), tokens


@torch.inference_mode()
def training_reads_as_serving_does(head: LayerHead, driven: str = "fast") -> None:
    """At every place: the logits in training equal those of the small model that has read the text so far."""
    model = engine(driven).model
    small, tokens, layers = head.beside(model), _text(head, 1)[1], head.taps(LAYERS)
    caches: list[Any] = [each.new_cache() for each in (model, small)]
    windows = [Window.chain([cache.open()], [tokens], [0], model.device) for cache in caches]
    hidden = model.evaluate(windows[0], caches[0], Want(logits=False, hidden=layers)).hidden
    rows = torch.cat([hidden[layer] for layer in layers], -1)
    (said,) = head.unrolled(rows, torch.tensor([[*tokens, 0]]), bound(model), DEPTH)
    served = small.evaluate(windows[1], caches[1]).logits
    assert served is not None
    torch.testing.assert_close(said.read(said.rows)[0, :-1], served[0, 1:], atol=NEAR, rtol=NEAR)


def training_leads_as_serving_does(head: RowHead) -> None:
    """At every place, every step: the logits of a head that is led equal those of one that drafts the same tokens."""
    of, depth = around(), min(DEPTH, head.depth)
    rows, tokens = _text(head, 1)
    led = head.unrolled(rows[None], torch.tensor([tokens]), of, depth)
    assert len(led) == depth
    for place in range(SIZE):
        memory = head.memory(of)
        memory.read(rows[: place + 1], tokens[1 : place + 2])
        chain = tokens[place + 2 : place + 1 + depth]
        for step in range(min(depth, 1 + len(chain))):
            said = memory.after([step - 1], chain, list(range(-1, len(chain) - 1)))[0]
            expected = led[step].read(led[step].rows)[0, place]
            torch.testing.assert_close(said, expected, atol=NEAR, rtol=NEAR)


def pieces_and_copies_change_nothing(head: RowHead) -> None:
    """A text read at once or in pieces, nodes asked for together or alone, a copy or the first."""
    of = around()
    rows, tokens = _text(head, 2)
    drafted, parents = [4, 9, 4, 30], [-1, -1, 0, 1]
    wanted = [node for node in range(-1, 4) if _depth(node, parents) < head.depth]
    whole, pieces = head.memory(of), head.memory(of)
    whole.read(rows, tokens[1:])
    for start, end in ((0, 5), (5, 6), (6, SIZE)):
        pieces.read(rows[start:end], tokens[start + 1 : end + 1])
        pieces.after([-1], [], [])
        pieces.after([0], [7], [-1])
        pieces.forget()
    together = whole.after(wanted, drafted, parents)
    for at, node in enumerate(wanted):
        for memory in (pieces, whole.copy()):
            alone = memory.after([node], drafted, parents)[0]
            torch.testing.assert_close(alone, together[at], atol=NEAR, rtol=NEAR)


def rows_together_are_rows_alone(head: RowHead) -> None:
    """Several rows, read and asked at once, as a batch does: each is told what it is told alone."""
    of = around()
    asked: list[Asked] = [([-1], [], []), ([0, 1], [4, 9], [-1, -1]), ([2, 0], [4, 9, 4], [-1, -1, 0])]
    texts = [_text(head, seed) for seed in (3, 4, 5)]
    rows = [text[: 5 + at] for at, (text, _) in enumerate(texts)]
    following = [tokens[1 : 1 + len(mine)] for mine, (_, tokens) in zip(rows, texts, strict=True)]
    alone, together = ([head.memory(of) for _ in texts] for _ in range(2))
    together[0].read_all(together, rows, following)
    said = together[0].after_all(together, asked)
    expected = []
    for memory, mine, behind, each in zip(alone, rows, following, asked, strict=True):
        memory.read(mine, behind)
        expected.append(memory.after(*each))
    torch.testing.assert_close(said, torch.cat(expected), atol=NEAR, rtol=NEAR)


def _depth(node: int, parents: Sequence[int]) -> int:
    return 0 if node < 0 else 1 + _depth(parents[node], parents)


def it_changes_no_token(head: DraftHead, drafter: str, **request: Any) -> None:
    """Alone and in a batch: the tokens are those of plain decoding, whatever the head says."""
    of = engine("fast")
    asked = ASKED | request
    prompts = [list(prompt) for prompt in PROMPTS]
    plain = _plain(**request)
    assert [answer.tokens for answer in of.generate(prompts, methods(head)[drafter], **asked)] == plain
    alone = of.generate(prompts[0], methods(head)[drafter], **asked)
    assert alone.tokens == plain[0]
    assert alone.counters.drafted > 0


@cache
def _plain(**request: Any) -> list[list[int]]:
    """What plain decoding answers."""
    prompts = [list(prompt) for prompt in PROMPTS]
    return [answer.tokens for answer in engine("fast").generate(prompts, "plain", **ASKED, **request)]
