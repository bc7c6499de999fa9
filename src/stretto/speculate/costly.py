"""When to ask a drafter that takes a forward for each level, and when to stop it.

What being asked came to, in tokens and in seconds, is counted each time. It pays where it writes more tokens than
decoding writes in that time of late (`Speed`); while it does not, the drafter pauses, and is tried again after 2, 4,
8 … rounds. What it would have guessed in the meantime, which it then tells (`Session.missed`), counts as if it had
been asked. Beside free drafters it is asked where it usually gets that much further than they may expect to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..row import Row
from ..tree import Tree
from .contract import Outcome
from .pause import Pause
from .tallies import Tallies, depth_class, score_class

RECENT = 0.9  # weight of earlier times, each time it is asked: about the last 10 count
STEADY = 0.95  # weight of earlier rounds in how the clock compares with what windows take
DEARER = 0.05  # weight of an observation that a level takes longer than believed; one that it takes less is believed
FEW = 4  # tokens that it may have to read beside drafting
TRIAL = 2  # levels of the first trial; later ones have 1
TRIED = 4  # rows of a trial, at most: each may have its whole prompt to read
MARGIN = 1.05  # what asking must yield, relative to decoding of late
SWIFT = 0.9  # weight of earlier rounds in how fast decoding is of late: about the last 10 count

Cost = Callable[[int, int], float]  # seconds for one window of so many tokens in each of so many rows


@dataclass(slots=True)
class Speed:
    """How fast decoding was of late, over all decodes, relative to plain decoding: what a second is worth.

    A node, a level or a drafter pays where it brings more tokens a second than that (marginal value theorem, Charnov
    1976): what copies fast need not be helped along, and what is slow welcomes any help.
    """

    plain: float = 0.0  # seconds that plain decoding takes for what was committed
    taken: float = 0.0  # and those it took

    def add(self, plain: float, taken: float, rows: int = 1) -> None:
        """One round of one of so many rows is over."""
        fade = SWIFT ** (1 / rows)
        self.plain, self.taken = fade * self.plain + plain, fade * self.taken + taken

    def worth(self, plain: float) -> float:
        """Tokens of a row in a second, where plain decoding takes `plain` seconds for one; never fewer than that."""
        return max(1.0, (self.plain + plain) / (self.taken + plain)) / plain


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
    pause: Pause = field(default_factory=Pause)

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
    """The best part of what is free for a row: its nodes, and the expected tokens, the model's own included."""

    nodes: int
    tokens: float


class Asking:
    """The decision in one decode, taken anew for each row of each round."""

    def __init__(self, known: Costly, tallies: Tallies, speed: Speed, cost: Cost, *, most: int, watched: bool) -> None:
        """`most` levels at a time; `watched` drafters ask on their way whether to go on."""
        self._known, self._tallies, self._speed, self._cost = known, tallies, speed, cost
        self._most, self._watched = most, watched
        self.rows = 1  # in this round
        self.due = False  # whether it may be asked in this round
        self._asked = 0  # rows that it is asked for
        self._free: set[str] = set()  # sources of what free drafters propose beside it

    def begin(self, rows: Sequence[Row]) -> None:
        """A round begins."""
        self.rows, self.due, self._asked = len(rows), self._known.pause.over(), 0

    # -- how much -----------------------------------------------------------------------------

    def levels(self, tree: Tree, free: Draft) -> int:
        """How many to ask for beside what free drafters proposed for a row, whose best part is worth `free`."""
        if not self.due:
            return 0
        known = self._known
        if self._gain(free) > 0:
            known.pause.end()
            levels = self._most if self._watched else self._best_depth()
        elif self._pays or self._asked == TRIED:  # elsewhere, or there are enough
            return 0
        else:
            levels = min(TRIAL if known.price is None else 1, self._most)
            if not known.pause.left:  # the first rows of this round are the trial
                known.pause.begin()
        self._asked += 1
        self._free.update(tree.sources)
        return levels

    @property
    def _pays(self) -> bool:
        """Whether it does where free drafters have nothing."""
        return self._gain(Draft(0, 1.0)) > 0

    def _gain(self, free: Draft) -> float:
        """Tokens that asking brings a row beside what is free, less what its seconds are worth; 0 where not known.

        What is accepted is then the longer one of two paths: what it usually gets, or what is free.
        """
        known = self._known
        if known.price is None or not known.asked:
            return 0.0
        size = 1 + free.nodes
        window = self._cost(size + round(known.nodes / known.asked), self.rows) - self._cost(size, self.rows)
        drafting = self.rows * known.seconds / known.asked
        further = max(0.0, 1.0 + known.tokens / known.asked - free.tokens)
        return further - MARGIN * self._worth * (window + drafting)

    @property
    def _worth(self) -> float:
        return self._speed.worth(self._cost(1, self.rows))

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
        """Whether a level, `width` more slots in windows of `size`, brings a row more than its seconds are worth."""
        rows, price = self.rows, self._known.price or 0.0
        dearer = self._cost(size + width, rows) - self._cost(size, rows) + rows * price
        return gain > dearer * self._worth

    # -- learning -----------------------------------------------------------------------------

    def learn(self, proposed: Tree, outcome: Outcome, seconds: float, per_level: float | None = None) -> None:
        """What was proposed for a row, by it and others, what came of it, and the seconds that drafting took.

        `seconds` are a row's share of the batch; `per_level`, for all rows, those of a level but for the first, which
        reads what is new.
        """
        known, tree = self._known, outcome.tree
        known.told = STEADY * known.told + self._cost(1 + len(tree), self.rows) / self.rows
        known.taken = STEADY * known.taken + outcome.seconds
        own = [node for node, source in enumerate(proposed.sources) if source not in self._free] if self._asked else []
        if not own:
            return
        seconds *= self.rows / self._asked
        known.source = (proposed.sources[own[0]].rpartition("+")[2], score_class(proposed.scores[own[0]]))
        levels = max(proposed.depths[node] for node in own)
        known.learn_price(known.pace * (seconds / levels if per_level is None else per_level / self._asked))
        assert known.price is not None
        usual = len(outcome.missed) <= FEW and known.asked > 0  # else it mostly read
        verified = [source not in self._free for source in tree.sources]
        took = known.pace * seconds if usual else levels * known.price
        known.add(sum(verified[node] for node in outcome.path), took, sum(verified))
        self._learn_missed(outcome.missed)
        if self._pays:
            known.pause.cut()

    def _learn_missed(self, told: Sequence[tuple[float, bool]]) -> None:
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
