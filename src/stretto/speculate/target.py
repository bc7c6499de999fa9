"""The target's answer to one window of trees, as acceptors see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..models.contract import Evaluation
from ..noise import gumbel, key
from ..row import Row
from ..steer.choice import choose
from ..steer.contract import Companion
from ..steer.nodes import Nodes
from ..steer.path import Path
from ..tree import ROOT, Tree, slot_of
from .taps import taps_at

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

AT_ONCE = 1 << 20  # logits of a window up to which a distribution costs less than asking for it by itself


class Target:
    """The target's answer to one window of trees, as acceptors see it."""

    def __init__(
        self,
        rows: Sequence[Row],
        trees: Sequence[Tree],
        evaluation: Evaluation,
        companions: Mapping[Companion, Tensor] | None = None,
    ) -> None:
        """`companions` is what these said, [B, 1 + D, V] each; None where a draft model answers: what it says is judged
        as guesses are."""
        assert evaluation.logits is not None
        self.rows = rows
        self._evaluation, self._companions = evaluation, companions or {}
        self._rules = [row.rule.guessing if companions is None else row.rule for row in rows]
        self.trees = trees
        self.logits = evaluation.logits  # [B, 1 + D, V]
        self._steered: dict[tuple[int, int], Tensor] = {}
        self._drawn_from: dict[tuple[int, int], NDArray[Any]] = {}
        self._best: list[list[int]] | None = None
        if all(rule.pipeline.plain for rule in self._rules):
            self._best = self.logits.argmax(-1).tolist()

    def choose(self, nodes: Sequence[tuple[int, int]]) -> list[int]:
        """The one rule at (row, node) pairs: argmax of steered logits plus the row's noise."""
        if self._best is not None:
            return [self._best[r][slot_of(node)] for r, node in nodes]
        found = self._nodes(nodes)
        choices = choose(found, found.rules)
        for at, steered in zip(nodes, choices.steered, strict=True):
            self._steered[at] = steered
        return choices.tokens

    def probabilities(self, row: int, node: int) -> NDArray[Any]:
        """The distribution [V] that the row's rule draws from after a node, float64; at temperature 0 one token's."""
        if self._rules[row].pipeline.greedy:
            certain = np.zeros(self.logits.shape[-1])
            certain[self.choose([(row, node)])[0]] = 1.0
            return certain
        if (row, node) not in self._drawn_from:
            self._drawn_from[row, node] = self.steered(row, node).cpu().double().softmax(-1).numpy()
        return self._drawn_from[row, node]

    def look_ahead(self) -> None:
        """Find the distributions of all rows together that will be asked for: after the roots, and few others."""
        pipelines = {rule.pipeline for rule in self._rules}
        if len(self.rows) == 1 or len(pipelines) > 1 or self._rules[0].pipeline.greedy:
            return
        (pipeline,) = pipelines
        wide = self.logits.numel() > AT_ONCE
        places = [(at, node) for at, tree in enumerate(self.trees) for node in range(ROOT, 0 if wide else len(tree))]
        nodes = self._nodes(places)
        steered = nodes.raw if self._best is not None else pipeline(nodes)
        found = steered.cpu().double().softmax(-1).numpy()
        for place, line, probabilities in zip(places, steered, found, strict=True):
            self._steered[place] = line
            self._drawn_from[place] = probabilities

    def scores(self, row: int, node: int) -> NDArray[Any]:
        """What the rule compares after a node, [V]: steered log-weights, plus the row's noise where it samples."""
        steered, rule = self.steered(row, node), self._rules[row]
        if not rule.pipeline.greedy:
            place = torch.tensor(key(rule.seed, rule.stream, len(self._path(row, node))), device=steered.device)
            steered = steered + gumbel(place, torch.arange(len(steered), device=steered.device))
        return np.asarray(steered.cpu().double().numpy())

    def raw(self, row: int, node: int) -> Tensor:
        """The model's own logits after a node, [V]."""
        return self.logits[row, slot_of(node)]

    def steered(self, row: int, node: int) -> Tensor:
        """The steered log-weights after a node, [V]; −inf where a token is excluded."""
        if self._best is not None:
            return self.raw(row, node)
        if (row, node) not in self._steered:  # without the noise that a choice would draw
            pipeline = self._rules[row].pipeline
            self._steered[row, node] = pipeline(self._nodes([(row, node)]))[0]
        return self._steered[row, node]

    def _nodes(self, places: Sequence[tuple[int, int]]) -> Nodes:
        """What steers see of these (row, node) pairs."""
        paths = [self._path(row, node) for row, node in places]
        raw = self.logits[[row for row, _ in places], [slot_of(node) for _, node in places]]  # [N, V]
        rules = [self._rules[row] for row, _ in places]
        if not any(rule.pipeline.aided for rule in rules):
            return Nodes(paths, raw, rules=rules)
        for row, node in places:  # what a steer heard of the nodes above, it must have heard
            if self._rules[row].pipeline.hears and node != ROOT:
                self.steered(row, self.trees[row].parents[node])
        starts = [len(row.history.tokens) - 1 for row in self.rows]
        return Nodes(paths, raw, taps_at(places, self.trees, starts, self._evaluation, self._companions), rules)

    def _path(self, row: int, node: int) -> Path:
        return Path(self.rows[row].history, tuple(self.trees[row].path_tokens(node)))
