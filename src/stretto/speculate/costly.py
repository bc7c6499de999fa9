"""When to ask a drafter that takes a forward for each level, and when to stop it.

A token that it guesses rightly is worth the time that plain decoding would take for it. What being asked came to, in
tokens and in seconds, is counted each time; while that does not pay, the drafter pauses, and is tried again after 2, 4,
8 … rounds. What it would have guessed in the meantime, which it then tells (`Session.hindsight`), counts as if it had
been asked. Beside free drafters it is asked where it usually gets further than they may expect to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..row import Row
from ..tree import Tree
from .contract import Outcome
from .tallies import Tallies, depth_class, score_class

RECENT = 0.9  # weight of earlier times, each time it is asked: about the last 10 count
STEADY = 0.95  # weight of earlier rounds in how the clock compares with what windows take
DEARER = 0.05  # weight of an observation that a level takes longer than believed; one that it takes less is believed
FEW = 4  # tokens that it may have to read beside drafting
TRIAL = 2  # levels of the first trial; later ones have 1
LONGEST_PAUSE = 128  # rounds between two trials
MARGIN = 1.05  # what asking must yield, relative to plain decoding

Cost = Callable[[int, int], float]  # seconds for one window of so many tokens in each of so many rows


@dataclass(slots=True)
class Costly:
    """What was learnt about one such drafter, over all decodes."""

    source: tuple[str, int] = ("", 5)  # of its nodes, and the class of their scores
    price: float | None = None  # seconds of a level and a row by the clock, rather low of late; None: not tried yet
    told: float = 0.0  # seconds of windows by the clock, of late
    taken: float = 0.0  # and what they took
    asked: float = 0.0  # times, of late
    tokens: float = 0.0  # of what it drafted, alone or like others, that were then accepted
    seconds: float = 0.0  # that it then took, by the clock
    nodes: float = 0.0  # of that, verified
    pause: int = 1  # rounds that it sits out after its last trial
    left: int = 0  # of these, still to come

    @property
    def pace(self) -> float:
        """What the clock tells, relative to what windows take now: all may take longer, or shorter."""
        return self.told / self.taken if self.taken else 1.0

    def add(self, tokens: int, seconds: float, nodes: int) -> None:
        """It was asked once more, or would have been."""
        self.asked, self.tokens = RECENT * self.asked + 1.0, RECENT * self.tokens + tokens
        self.seconds, self.nodes = RECENT * self.seconds + seconds, RECENT * self.nodes + nodes

    def learn_price(self, seconds: float) -> None:
        """What a level took."""
        if self.price is None or seconds < self.price:
            self.price = seconds
        else:  # reading a prompt, or a hiccup, is no habit
            self.price += DEARER * (min(seconds, 2 * self.price) - self.price)


@dataclass(frozen=True, slots=True)
class Draft:
    """What verifying so many nodes a row comes to: expected tokens of a row, the model's own included, and seconds."""

    nodes: int
    tokens: float
    seconds: float  # of the batch's window


class Asking:
    """The decision in one decode, taken anew for each row of each round."""

    def __init__(self, known: Costly, tallies: Tallies, cost: Cost, most: int, watched: bool) -> None:
        """`most` levels at a time; `watched` drafters ask on their way whether to go on."""
        self._known, self._tallies, self._cost = known, tallies, cost
        self._most, self._watched = most, watched
        self.rows = 1  # in this round
        self.due = False  # whether it may be asked in this round
        self._asked = False  # whether it is
        self._free: set[str] = set()  # sources of what free drafters propose beside it

    def begin(self, rows: Sequence[Row]) -> None:
        """A round begins."""
        self.rows, self.due, self._asked = len(rows), self._known.left == 0, False
        self._known.left = max(0, self._known.left - 1)

    # -- how much -----------------------------------------------------------------------------

    def levels(self, tree: Tree, free: Draft) -> int:
        """How many to ask for beside what free drafters proposed for a row, whose best part is worth `free`."""
        if not self.due:
            return 0
        known = self._known
        if self._yield(free) > MARGIN * free.tokens / free.seconds:
            known.pause, levels = 1, self._most if self._watched else self._best_depth()
        elif self._pays:  # elsewhere
            return 0
        else:
            levels = min(TRIAL if known.price is None else 1, self._most)
            if known.left == 0:  # all rows of this round are the trial
                known.pause = known.left = min(2 * known.pause, LONGEST_PAUSE)
        self._asked = True
        self._free.update(tree.sources)
        return levels

    @property
    def _pays(self) -> bool:
        """Whether it does where free drafters have nothing."""
        return self._yield(self._nothing) > MARGIN / self._cost(1, self.rows)

    def _yield(self, free: Draft) -> float:
        """Tokens per second and row where it is asked beside what is free; 0 where that is not known.

        What is accepted is then the longer one of two paths: what it usually gets, or what is free.
        """
        known = self._known
        if known.price is None or not known.asked:
            return 0.0
        size = 1 + free.nodes
        window = self._cost(size + round(known.nodes / known.asked), self.rows) - self._cost(size, self.rows)
        drafting = self.rows * known.seconds / known.asked
        return max(free.tokens, 1.0 + known.tokens / known.asked) / (free.seconds + window + drafting)

    @property
    def _nothing(self) -> Draft:
        return Draft(0, 1.0, self._cost(1, self.rows))

    def _best_depth(self) -> int:
        """For a drafter that is not to be stopped on its way."""
        reach, depth = 1.0, 0
        while depth < self._most:
            reach *= self._tallies.rate((*self._known.source, 0, depth_class(depth + 1)))
            if not self._gains(reach, 1 + depth, 1):
                break
            depth += 1
        return max(depth, 1)

    def further(self, tree: Tree, reaches: Sequence[float]) -> bool:
        """Whether another level below the deepest of its own tree brings in more than it takes."""
        deepest = [node for node, depth in enumerate(tree.depths) if depth == tree.depths[-1]]
        gain = sum(reaches[node] * self._tallies.of_source(tree.sources[node]) for node in deepest)
        return self._gains(gain, 1 + len(tree), len(deepest))

    def _gains(self, gain: float, size: int, width: int) -> bool:
        """Whether a level that adds `width` slots to windows of `size`, and `gain` tokens a row, is above the average.

        That is what asking usually yields, or plain decoding where that is more.
        """
        rows, price = self.rows, self._known.price or 0.0
        dearer = self._cost(size + width, rows) - self._cost(size, rows) + rows * price
        return gain > dearer * max(self._yield(self._nothing), 1.0 / self._cost(1, rows))

    # -- learning -----------------------------------------------------------------------------

    def learn(self, proposed: Tree, outcome: Outcome, seconds: float, per_level: float | None = None) -> None:
        """What was proposed for a row, by it and others, what came of it, and the seconds that drafting took.

        `per_level` are those of a level but for the first, which reads what is new.
        """
        known, tree = self._known, outcome.tree
        known.told = STEADY * known.told + self._cost(1 + len(tree), self.rows) / self.rows
        known.taken = STEADY * known.taken + outcome.seconds
        own = [node for node, source in enumerate(proposed.sources) if source not in self._free] if self._asked else []
        if not own:
            return
        known.source = (proposed.sources[own[0]].rpartition("+")[2], score_class(proposed.scores[own[0]]))
        levels = max(proposed.depths[node] for node in own)
        known.learn_price(known.pace * (seconds / levels if per_level is None else per_level))
        assert known.price is not None
        usual = len(outcome.hindsight) <= FEW and known.asked > 0  # else it mostly read
        verified = [source not in self._free for source in tree.sources]
        took = known.pace * seconds if usual else levels * known.price
        known.add(sum(verified[node] for node in outcome.path), took, sum(verified))
        self._learn_late(outcome.hindsight)
        if self._pays:
            known.left = 0

    def _learn_late(self, told: Sequence[tuple[float, bool]]) -> None:
        """What chains would have come to, had it been asked: each ends where it is wrong or stopped."""
        known, tallies, source = self._known, self._tallies, self._known.source[0]
        hits = levels = 0
        reach = 1.0
        for score, hit in told:
            kind = (source, score_class(score), 0, depth_class(levels + 1))
            reach *= tallies.rate(kind)
            tallies.add(kind, hit)
            levels, hits = levels + 1, hits + hit
            if not (hit and levels < self._most and self._gains(reach * tallies.of_source(source), 1 + levels, 1)):
                known.add(hits, levels * (known.price or 0.0), levels)
                hits = levels = 0
                reach = 1.0
