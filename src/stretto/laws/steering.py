"""Laws of steers, on random logits at the nodes of small trees: pure functions of a node's own path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast
from zlib import crc32

import torch
from torch import Tensor

from ..steer.contract import Steer
from ..steer.path import History, Path
from ..steer.temperature import Temperature
from .worlds import seen

VOCABULARY = 6
Tail = tuple[int, ...]  # drafted tokens below a row's last one


def history(prompt: Sequence[int], output: Sequence[int]) -> History:
    """A row's tokens."""
    made = History(prompt)
    made.extend(output)
    return made


def logits_along(paths: Sequence[Path], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[len(paths), VOCABULARY], drawn for each path and seed."""
    tokens = [str((seed, *path.history.tokens, *path.drafted)) for path in paths]
    return torch.cat([random_logits(1, crc32(text.encode()), dtype) for text in tokens] or [random_logits(0, 0, dtype)])


def answer(step: Steer, paths: Sequence[Path], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The steered logits at these nodes. One that hears is asked at the nodes above first, as always."""
    deepest = max((len(path.drafted) for path in paths), default=0) if step.hears else 0
    for depth in range(deepest):
        leading = [Path(path.history, path.drafted[:depth]) for path in paths if len(path.drafted) > depth]
        logits = logits_along(leading, seed, dtype)
        step(logits, seen(leading, logits, step))
    logits = logits_along(paths, seed, dtype)
    return step(logits, seen(paths, logits, step))


def grow(row: History, tokens: Sequence[int], step: Steer, seed: int) -> None:
    """Commit tokens one by one. One that hears is asked before each, as it always is."""
    for token in tokens:
        if step.hears:
            answer(step, [Path(row)], seed)
        row.extend([token])


def random_logits(nodes: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[nodes, VOCABULARY], the same for a seed."""
    return 2 * torch.randn(nodes, VOCABULARY, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def nodes() -> list[Path]:
    """Nodes of the trees of two rows."""
    tails = [(), (0,), (3,), (0, 2), (0, 2, 2), (1, 3, 5, 1)]
    rows = history([1, 2, 1], [2, 3, 2]), history([0], [])
    return [Path(row, tail) for row in rows for tail in tails]


def it_has_neutral_and_reshaping_examples(kind: type[Steer]) -> None:
    """`examples` gives settings to try, the neutral one first."""
    examples = kind.examples()
    assert examples and examples[0].idle, f"{kind.name}: the first example is the neutral one"
    assert any(not example.idle for example in examples), f"{kind.name}: an example that reshapes"


def neutral_is_bit_identical_and_the_rest_reshapes(step: Steer) -> None:
    """`idle` says whether the logits come back as they were."""
    logits = random_logits(12, 0)
    steered = step(logits, seen(nodes(), logits, step))
    greedy = isinstance(step, Temperature) and step.greedy  # zero temperature is carried out by the choice
    assert torch.equal(steered, logits) == (step.idle or greedy)


def a_steer_is_pure(step: Steer, dtype: torch.dtype) -> None:
    """Same shape and type; the input is left alone, the same again gives the same, and a token stays finite."""
    paths = nodes()
    logits = logits_along(paths, 1, dtype)
    before, committed = logits.clone(), [path.history.tokens.copy() for path in paths]
    steered = step(logits, seen(paths, logits, step))
    assert steered.shape == logits.shape
    assert steered.dtype == dtype
    assert not steered.isnan().any()
    assert torch.equal(logits, before)
    assert [path.history.tokens for path in paths] == committed
    assert torch.equal(step(logits, seen(paths, logits, step)), steered)
    assert step == replace(cast(Any, step)), "settings compare by value"
    hash(step)


def pointwise_steers_do_not_look_at_the_path(step: Steer) -> None:
    """Equal logits are steered alike wherever they stand, or `pointwise` is not declared."""
    logits = random_logits(1, 2).expand(12, -1)
    steered = step(logits, seen(nodes(), logits, step))
    same = all(torch.equal(row, steered[0]) for row in steered)
    assert same or not step.pointwise


def a_tree_equals_its_paths(
    step: Steer, prompt: Sequence[int], output: Sequence[int], tails: Sequence[Tail], seed: int
) -> None:
    """A node among others gets, bit for bit, the row that plain decoding of its path would get."""
    row = History(prompt)
    grow(row, output, step, seed)
    in_tree = answer(step, [Path(row, tail) for tail in tails], seed)
    for node, tail in enumerate(tails):
        plain = History(prompt)
        grow(plain, [*output, *tail], step, seed)
        assert torch.equal(in_tree[node], answer(step, [Path(plain)], seed)[0])


def rejected_drafts_leave_no_trace(
    step: Steer, rounds: Sequence[tuple[Sequence[Tail], Sequence[int]]], forked: bool
) -> None:
    """After rounds of (tails that are rejected, tokens that are committed) it steers as if nothing had been drafted."""
    drafted, plain = History([1, 2]), History([1, 2])
    for tails, committed in rounds:
        answer(step, [Path(drafted, tail) for tail in tails], 3)  # all of them rejected
        drafted, kept = (drafted.fork(), drafted) if forked else (drafted, None)
        grow(drafted, committed, step, 3)
        grow(plain, committed, step, 3)
        if kept is not None:  # what a twin goes on to do is no trace either
            kept.extend([5, 5])
    one, other = (answer(step, [Path(row)], 3) for row in (drafted, plain))
    assert torch.equal(one, other)
