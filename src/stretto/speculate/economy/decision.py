"""Whether to ask a drafter, and for how much: the one decision.

What being asked came to, in tokens and in seconds, is counted each time. It pays where it writes more tokens than
decoding writes in that time of late (`Speed`); while it does not, the drafter pauses, and is tried again after 2, 4,
8 … rounds. Of one that takes a forward for each level this also says how many levels, and where to stop; what it would
have guessed in the meantime, which it then tells (`DraftSession.missed`), counts as if it had been asked. Beside free
drafters it is asked where it usually gets that much further than they may expect to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...tree import Tree
from ..contract import Outcome
from .acceptance import ByLook, depth_class, score_class

LONGEST = 128  # rounds of a pause
CREEP = 0.05  # weight of an observation that something takes longer than believed; one that it takes less is believed
SWIFT = 0.9  # weight of earlier rounds in how fast decoding is of late: about the last 10 count
RECENT = 0.9  # weight of earlier times, each time a costly drafter is asked
STEADY = 0.95  # weight of earlier rounds in how the clock compares with what windows take
FADE = 0.97  # weight of earlier rounds in what a free drafter comes to: about the last 33 count
SETTLED = 12.0  # rounds of a row before a free drafter is judged, three rounds at least
LONGEST_REST = 32  # rounds for each row, of a free drafter: trying costs a batch more, and it finds out sooner
FEW = 4  # tokens that a costly drafter may have to read beside drafting
TRIAL = 2  # levels of the first trial; later ones have 1
TRIED = 4  # rows of a trial, at most: each may have its whole prompt to read
MARGIN = 1.05  # what asking must yield, relative to decoding of late

Cost = Callable[[float, int], float]  # seconds for one window of so many tokens in each of so many rows


@dataclass(slots=True)
class Pause:
    """What does not pay sits out; it is tried again after 2, 4, 8 … rounds."""

    length: int = 1  # rounds of the last pause
    left: int = 0  # of these, still to come

    def over(self) -> bool:
        """Whether it may be tried in this round; otherwise one round less is left."""
        if not self.left:
            return True
        self.left -= 1
        return False

    def begin(self, longest: int = LONGEST, least: int = 2) -> None:
        """It does not pay: twice as long a pause as the last one."""
        self.length = self.left = min(max(least, 2 * self.length), longest)

    def cut(self) -> None:
        """It seems to pay: try it at once, and pause twice as long if it does not."""
        self.left = 0

    def end(self) -> None:
        """It pays."""
        self.length, self.left = 1, 0


@dataclass(slots=True)
class Price:
    """What something takes: the least of late, because hiccups and reading prompts only add."""

    seconds: float | None = None  # None: not seen yet

    def add(self, seconds: float) -> None:
        """It took so long now."""
        if self.seconds is None or seconds < self.seconds:
            self.seconds = seconds
        else:
            self.seconds += CREEP * (min(seconds, 2 * self.seconds) - self.seconds)


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
class Account:
    """What a drafter earned and cost of late, over all decodes."""

    tokens: float = 0.0  # accepted ones that nobody else had
    seconds: float = 0.0  # for proposing, learning, and what was verified of it
    times: float = 0.0  # it was asked, of all rows
    pause: Pause = field(default_factory=Pause)

    def settle(self, worth: float, rows: int) -> None:
        """One round of so many rows is over, whose seconds are worth so many tokens each: may it go on?"""
        if not self.pause.over():
            return
        if self.times >= max(SETTLED, 3 * rows):
            if self.tokens < self.seconds * worth:
                self.pause.begin(LONGEST_REST * rows, least=max(2, rows))
                self.seconds = self.tokens = self.times = 0.0
                return
            self.pause.end()
        self.seconds, self.tokens, self.times = FADE * self.seconds, FADE * self.tokens, FADE * self.times + rows


@dataclass(slots=True)
class Costly(Account):
    """The same of a drafter that takes forwards; its seconds are by the clock."""

    nodes: float = 0.0  # verified of what it drafted
    source: tuple[str, int] = ("", 5)  # of its nodes, and the class of their scores
    price: Price = field(default_factory=Price)  # of a level and a row, by the clock
    told: float = 0.0  # seconds of windows by the clock, of late
    taken: float = 0.0  # and what they took

    @property
    def pace(self) -> float:
        """What the clock tells, relative to what windows take now: all may take longer, or shorter."""
        return self.told / self.taken if self.taken else 1.0

    def add(self, tokens: int, seconds: float, nodes: int) -> None:
        """It was asked once more, or would have been."""
        self.times, self.tokens = RECENT * self.times + 1.0, RECENT * self.tokens + tokens
        self.seconds, self.nodes = RECENT * self.seconds + seconds, RECENT * self.nodes + nodes


class Asking:
    """The decision on a costly drafter in one decode, taken anew for each row of each round."""

    def __init__(self, known: Costly, rates: ByLook, speed: Speed, cost: Cost, *, most: int, watched: bool) -> None:
        """`most` levels at a time; `watched` drafters ask on their way whether to go on."""
        self._known, self._rates, self._speed, self._cost = known, rates, speed, cost
        self._most, self._watched = most, watched
        self.rows = 1  # in this round
        self.due = False  # whether it may be asked in this round
        self._asked = 0  # rows that it is asked for
        self._free: set[str] = set()  # sources of what free drafters propose beside it

    def begin(self, rows: int) -> None:
        """A round begins."""
        self.rows, self.due, self._asked = rows, self._known.pause.over(), 0

    # -- how much -----------------------------------------------------------------------------

    def levels(self, tree: Tree, nodes: int = 0, tokens: float = 1.0) -> int:
        """How many to ask for beside what free drafters proposed for a row.

        The best part of that has so many `nodes`, and is worth so many `tokens`, the model's own included.
        """
        if not self.due:
            return 0
        known = self._known
        if self._gain(nodes, tokens) > 0:
            known.pause.end()
            levels = self._most if self._watched else self._best_depth()
        elif self._gain() > 0 or self._asked == TRIED:  # it pays elsewhere, or there are enough
            return 0
        else:
            levels = min(TRIAL if known.price.seconds is None else 1, self._most)
            if not known.pause.left:  # the first rows of this round are the trial
                known.pause.begin()
        self._asked += 1
        self._free.update(tree.sources)
        return levels

    def further(self, tree: Tree, reaches: Sequence[float]) -> bool:
        """Whether another level below the deepest of its own tree brings in more than it takes."""
        deepest = [node for node, depth in enumerate(tree.depths) if depth == tree.depths[-1]]
        gain = sum(reaches[node] * self._rates.of_source(tree.sources[node]) for node in deepest)
        return self._pays(gain, 1 + len(tree), len(deepest))

    def _gain(self, nodes: int = 0, tokens: float = 1.0) -> float:
        """Tokens that asking brings a row beside what is free, less what its seconds are worth; 0 where not known.

        What is accepted is then the longer one of two paths: what it usually gets, or what is free.
        """
        known = self._known
        if known.price.seconds is None or not known.times:
            return 0.0
        size = 1 + nodes
        window = self._cost(size + round(known.nodes / known.times), self.rows) - self._cost(size, self.rows)
        drafting = self.rows * known.seconds / known.times
        further = max(0.0, 1.0 + known.tokens / known.times - tokens)
        return further - MARGIN * self._worth * (window + drafting)

    @property
    def _worth(self) -> float:
        return self._speed.worth(self._cost(1, self.rows))

    def _best_depth(self) -> int:
        """For a drafter that is not to be stopped on its way."""
        reach, depth = 1.0, 0
        while depth < self._most:
            reach *= self._rates.rate((*self._known.source, 0, depth_class(depth + 1)))
            if not self._pays(reach, 1 + depth, 1):
                break
            depth += 1
        return max(depth, 1)

    def _pays(self, gain: float, size: int, width: int) -> bool:
        """Whether a level, `width` more slots in windows of `size`, brings a row more than its seconds are worth."""
        rows, price = self.rows, self._known.price.seconds or 0.0
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
        known.price.add(known.pace * (seconds / levels if per_level is None else per_level / self._asked))
        usual = len(outcome.missed) <= FEW and known.times > 0  # else it mostly read
        verified = [source not in self._free for source in tree.sources]
        took = known.pace * seconds if usual else levels * (known.price.seconds or 0.0)
        known.add(sum(verified[node] for node in outcome.path), took, sum(verified))
        self._learn_missed(outcome.missed)
        if self._gain() > 0:
            known.pause.cut()

    def _learn_missed(self, told: Sequence[tuple[float, bool]]) -> None:
        """What chains would have come to, had it been asked: each ends where it is wrong or stopped."""
        known, rates, source = self._known, self._rates, self._known.source[0]
        hits, levels, reach = 0, 0, 1.0
        for score, hit in told:
            kind = (source, score_class(score), 0, depth_class(levels + 1))
            reach *= rates.rate(kind)
            rates.add(kind, hit)
            levels, hits = levels + 1, hits + hit
            if not (hit and levels < self._most and self._pays(reach * rates.of_source(source), 1 + levels, 1)):
                known.add(hits, levels * (known.price.seconds or 0.0), levels)
                hits, levels, reach = 0, 0, 1.0
