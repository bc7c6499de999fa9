"""Claims of searches that need no trained judge: votes, ranks, and text that is tried where a model is unsure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...context import Context
from ...search.adadec import AdaDec
from ...search.astar import AStar
from ...search.best_of import BestOf
from ...search.blockwise import Blockwise
from ...search.cards import Cards
from ...search.cntp import Cautious
from ...search.critics.again import Again
from ...search.refine import Refine
from ...search.scorer import Draft, Scorer, Scoring
from ...search.scorers.by_function import ByFunction
from ...search.segmenters import Every
from ...search.vote import Vote
from ..anytime import Book, Checker
from .contract import Claim, Figures, at_least, at_most
from .lab import Lab, Worked
from .rewards import DRAWN, ON, RIGHT, Sides, asked, found
from .routes import PROMPTS

WHOLE = "(?s).+"  # an answer is its own result


def voted(lab: Lab) -> Figures:
    """The same answers, of which one is drawn, or the most frequent counts."""
    sides: Sides = {
        "one draw": ("plain", DRAWN),
        "vote of 5": (Vote(5, WHOLE), DRAWN),
        "vote of 15": (Vote(15, WHOLE), DRAWN),
    }
    return found(lab, asked(lab), sides)


def generic(lab: Lab) -> Figures:
    """How many of the pairs of neighbouring tokens in all answers together are no repetitions."""
    figures, subject = Figures(), lab.subject
    subject.replayed.follow(None)
    drawn = {"temperature": 0.88, "seed": lab.seed}
    for name, method, settings in (
        ("ranked", "best-of(20,likelihood(penalty=0))", drawn),
        ("beam", "beam(20,penalty=0)", {}),
    ):
        answers = [subject.engine.generate(each, method, max_new_tokens=24, **settings) for each in PROMPTS]
        pairs = [pair for answer in answers for pair in zip(answer.tokens, answer.tokens[1:], strict=False)]
        figures[f"distinct pairs, {name}"] = len(set(pairs)) / len(pairs)
    return figures


def repeated(lab: Lab) -> Figures:
    """How many of the pairs of neighbouring tokens within an answer are no repetitions, in the mean."""
    figures, subject = Figures(), lab.subject
    subject.replayed.follow(None)
    for name, method, settings in (
        ("contrastive", "contrastive", {}),
        ("greedy", "plain", {}),
        ("nucleus", "plain", {"temperature": 1.0, "top_p": 0.95, "seed": lab.seed}),
    ):
        answers = [subject.engine.generate(each, method, max_new_tokens=96, **settings) for each in PROMPTS]
        pairs = [[*zip(answer.tokens, answer.tokens[1:], strict=False)] for answer in answers]
        figures[f"distinct pairs, {name}"] = sum(len({*each}) / len(each) for each in pairs) / len(pairs)
    return figures


WARM: Mapping[str, Any] = {"temperature": 1.2}


def cautious(lab: Lab) -> Figures:
    """Several ways on where the model is unsure, as many everywhere, and none."""
    sides: Sides = {
        "cntp": (Cautious(), WARM),
        "4 ways anywhere": (Cautious(4, -2.0, -1.0), WARM),
        "one draw": ("plain", WARM),
    }
    return found(lab, asked(lab), sides, "token_forwards")


def paused(lab: Lab) -> Figures:
    """Tokens followed where the model is unsure; a beam; and greedy decoding."""
    sides: Sides = {"adadec": (AdaDec(), {}), "beam of 3": ("beam(3)", {}), "greedy": ("plain", {})}
    return found(lab, asked(lab), sides, "token_forwards")


def letters(text: str) -> float:
    """Of a word of a text, on average."""
    words = text.split()
    return sum(map(len, words)) / max(1, len(words))


def cascaded(lab: Lab) -> Figures:
    """Stories that are to have short words: segments that pass or are drawn again, whole answers, and tokens."""
    figures, subject = Figures(), lab.subject
    subject.replayed.follow(None)
    brief = ByFunction(lambda text: -letters(text))
    sides: Mapping[str, Any] = {
        "cards": Cards(brief, -3.0, 0.2, nats=2.0, most=16),
        "best of 10": BestOf(10, brief),
        "best of 10 tokens": Blockwise(10, brief, Every(1)),
        "one draw": "plain",
    }
    for name, method in sides.items():
        settings: Mapping[str, Any] = {"max_new_tokens": 48, "end_tokens": (), **DRAWN}
        runs = [subject.engine.generate([*PROMPTS], method, seed=lab.seed + at, **settings) for at in range(2)]
        answers = [answer for run in runs for answer in run]
        figures[f"letters a word, {name}"] = sum(letters(each.text) for each in answers) / len(answers)
        for what in ("token_forwards", "scorer_calls"):
            taken = sum(getattr(each.counters, what) for each in answers)
            figures[f"{what.replace('_', ' ')}, {name}"] = taken / len(answers)
    return figures


def reviewed(lab: Lab) -> Figures:
    """As many answers that a checker scores: each from the best and the worst before it, or all afresh."""
    book = asked(lab)
    checker = Checker(book)
    turn = "<|end|><|user|>That scores {score} of 1. A better answer to: {question}<|end|><|assistant|>"
    review = Again(turn, 1.0)
    sides: Sides = {
        "iad, 4": (Refine(4, review, checker, show="extremes"), DRAWN),
        "best of 4": (BestOf(4, checker), DRAWN),
    }
    return found(lab, book, sides, "token_forwards", "scorer_calls")


@dataclass(frozen=True, slots=True)
class Steps(Scorer):
    """Of a whole answer what the checker says; of a beginning 1 where the known answer begins so, else 0."""

    book: Book

    name: ClassVar[str] = "steps"

    def begin(self, context: Context) -> Scoring:
        return _Steps(self.book)


@dataclass(frozen=True, slots=True)
class _Steps(Scoring):
    book: Book

    def full(self, drafts: Sequence[Draft]) -> list[float]:
        return [float(self.book.right(each.prompt, each.text)) for each in drafts]

    def prefix(self, drafts: Sequence[Draft]) -> list[float]:
        return [float(self.book.questions[each.prompt].answer.startswith(each.text)) for each in drafts]


def promising(lab: Lab) -> Figures:
    """Beginnings that a judge of steps finds right go on first; or the best of whole answers counts."""
    book = asked(lab)
    steps = Steps(book)
    sides: Sides = {
        "a-star": (AStar(4, 12, steps, Every(8)), DRAWN),
        "best of 16": (BestOf(16, steps), DRAWN),
        "one draw": ("plain", DRAWN),
    }
    return found(lab, book, sides, "token_forwards", "scorer_calls")


CLAIMS = (
    Claim(
        "contrastive-search",
        "contrastive-search",
        "without chance, it repeats itself less than greedy decoding does, and about as little as drawn text",
        "share of the pairs of neighbouring tokens in an answer that are distinct",
        Worked(repeated, f"`contrastive`, greedy, nucleus .95, 96 tokens after {len(PROMPTS)} beginnings of stories"),
        (
            at_least("distinct pairs, contrastive", 1.0, "distinct pairs, greedy"),
            at_least("distinct pairs, contrastive", 0.9, "distinct pairs, nucleus"),
        ),
        where_not="at the published weight .6 this small model, which repeats itself at once when greedy, is held back"
        " too little: a weight of .75 gives .71 distinct pairs, .9 gives .94",
    ),
    Claim(
        "self-consistency",
        "self-consistency",
        "what most of several draws come to is right more often than one of them, ever more the more there are",
        RIGHT,
        Worked(voted, f"`vote(n)` over whole answers, one draw, {ON}; T=1"),
        (
            at_least("right, vote of 5", 1.0, "right, one draw"),
            at_least("right, vote of 15", 1.0, "right, vote of 5"),
        ),
        where_not="a vote of many comes to the answer that the model gives most often; with five draws it differs from"
        " that by luck, here by four questions of 36",
    ),
    Claim(
        "sample-and-rank",
        "sample-and-rank",
        "the likeliest of 20 draws at temperature .88 is less generic than what a beam of 20 finds",
        "share of the pairs of neighbouring tokens in six answers that are distinct",
        Worked(generic, f"`best-of(20,likelihood(penalty=0))`, `beam(20)`, {len(PROMPTS)} beginnings of stories"),
        (at_least("distinct pairs, ranked", 1.0, "distinct pairs, beam"),),
        number=168,
    ),
    Claim(
        "cntp",
        "cntp",
        "ways drawn where the model is unsure beat one draw, and as many everywhere that take more tokens",
        f"{RIGHT}; tokens an answer",
        Worked(cautious, f"`cntp`, with 4 ways at every place, one draw, {ON}; T=1.2"),
        (
            at_least("right, cntp", 1.0, "right, one draw"),
            at_least("right, cntp", 1.0, "right, 4 ways anywhere"),
            at_most("token forwards, cntp", 1.0, "token forwards, 4 ways anywhere"),
        ),
        where_not="ways everywhere take twice the tokens; the difference is two questions of 36, and may be luck",
        number=196,
    ),
    Claim(
        "adadec",
        "adadec",
        "following the likeliest tokens where the model is unsure beats greedy decoding, and a beam of 3",
        f"{RIGHT}; tokens an answer",
        Worked(paused, f"`adadec`, `beam(3)`, greedy, {ON}; T=0"),
        (
            at_least("right, adadec", 1.0, "right, beam of 3"),
            at_least("right, beam of 3", 1.0, "right, greedy"),
            at_most("token forwards, adadec", 0.6, "token forwards, beam of 3"),
        ),
        number=35,
    ),
    Claim(
        "cards",
        "cards",
        "segments that pass by their reward reach that of best of 10 for half the tokens, and half of the calls that"
        " judging each token takes",
        "mean letters of a word in stories that are to have short ones; tokens and scorer calls an answer",
        Worked(
            cascaded,
            f"`cards(…,goal=-3,beta=.2,nats=2,most=16)`, `best-of(10)`, `blockwise(10,segmenter=every(1))`, one draw,"
            f" by minus the letters of a word, on {len(PROMPTS)} beginnings of stories, twice; T=1",
        ),
        (
            at_most("letters a word, cards", 1.0, "letters a word, best of 10"),
            at_most("token forwards, cards", 0.5, "token forwards, best of 10"),
            at_most("scorer calls, cards", 0.5, "scorer calls, best of 10 tokens"),
        ),
        number=104,
    ),
    Claim(
        "a-star",
        "a-star",
        "continuing the most promising beginning is as often right as best of n for a third of the tokens",
        f"{RIGHT}; tokens and scorer calls an answer",
        Worked(promising, f"`a-star(4,12,…,every(8))`, `best-of(16)` by who knows the answer, one draw, {ON}; T=1"),
        (
            at_least("right, a-star", 1.0, "right, best of 16"),
            at_most("token forwards, a-star", 1 / 3, "token forwards, best of 16"),
        ),
        number=47,
    ),
    Claim(
        "iad",
        "iad",
        "of as many answers that a verifier scores more are right where the model sees its best and its worst so far",
        f"{RIGHT}; tokens and scorer calls an answer",
        Worked(reviewed, f"`refine(4,again(…{{score}}…,1),show=extremes)`, `best-of(4)` by the checker, {ON}; T=1"),
        (at_least("right, iad, 4", 1.03, "right, best of 4"),),
        where_not="the model was taught single questions, no conversations: of 19 wrong first answers the second mends"
        " none, and 2 where only the question is asked again",
        number=141,
    ),
)
