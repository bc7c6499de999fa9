"""Claims of searches and steers that ask for rewards: trained heads, or checkers in the place of known tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...search.best_of import BestOf
from ...search.blockwise import Blockwise
from ...search.contract import Search
from ...search.pg_td import PgTd
from ...search.ppo_mcts import PpoMcts
from ...search.scorers.value import Value
from ...search.segmenters import Every
from ...search.transfer_q import TransferQ
from ...search.vm_mcts import VmMcts
from ...steer.controlled import Controlled
from ..anytime import KINDS, Book, Checker, Contestant, cost, measured
from .contract import Claim, Figures, at_least, at_most
from .lab import Lab, Worked

QUESTIONS = 12  # of each kind
DRAWN: Mapping[str, Any] = {"temperature": 1.0}
ON = f"{QUESTIONS} questions of each of {', '.join(KINDS)}"
Sides = Mapping[str, tuple[Search | str, Mapping[str, Any]]]
VALUE, REWARD = Value("zoo/value"), Value("zoo/reward")


def _always(what: Any) -> Callable[[float], Any]:
    """The same at any size."""
    return lambda size: what


def found(lab: Lab, book: Book, sides: Sides, *costs: str) -> Figures:
    """Share of right answers of each, and what an answer took."""
    subject, figures = lab.subject, Figures()
    subject.replayed.follow(None)
    for name, (method, settings) in sides.items():
        one = Contestant(name, "", (1.0,), _always(method), _always(settings))
        (curve,) = measured(subject.engine, book, [one], lab.seed)
        figures[f"right, {name}"] = curve.points[0].right
        for each in costs:
            figures[f"{each.replace('_', ' ')}, {name}"] = cost(curve.points[0], each, len(book.chats))
    return figures


def asked(lab: Lab) -> Book:
    """The questions."""
    return Book(lab.subject.engine, KINDS, lab.count or QUESTIONS, lab.seed)


def controlled(lab: Lab) -> Figures:
    """Token by token, block by block, and whole answers, by the same kind of head."""
    sides: Sides = {
        "drawn": ("plain", DRAWN),
        "token by token": ("plain", {**DRAWN, "steers": [Controlled("zoo/next", 10.0)]}),
        "blocks, 6": (Blockwise(6, VALUE, Every(8)), DRAWN),
        "best of 32": (BestOf(32, VALUE), DRAWN),
    }
    return found(lab, asked(lab), sides, "token_forwards")


def planned(lab: Lab) -> Figures:
    """Before each token by values; and as many tokens spent on whole answers."""
    sides: Sides = {
        "ppo-mcts": (PpoMcts(5, 8, 1.0, VALUE), {}),
        "best of 8": (BestOf(8, VALUE), DRAWN),
        "greedy": ("plain", {}),
    }
    return found(lab, asked(lab), sides, "token_forwards", "scorer_calls")


def tested(lab: Lab) -> Figures:
    """Answers that known tests judge: as many of each, planned, drawn, and the likeliest."""
    book = asked(lab)
    checker = Checker(book)
    sides: Sides = {
        "pg-td": (PgTd(3, 64, scorer=checker, enough=1.0), {}),
        "16 drawn": (BestOf(16, checker), DRAWN),
        "beam of 4": ("beam(4)", {}),
    }
    return found(lab, book, sides, "token_forwards", "scorer_calls")


def searched(lab: Lab) -> Figures:
    """Lines by a value model, whole answers by the same one."""
    sides: Sides = {
        "vm-mcts": (VmMcts(4, 3, 3, 0.2, REWARD, Every(8)), DRAWN),
        "best of 12": (BestOf(12, REWARD), DRAWN),
        "greedy": ("plain", {}),
    }
    return found(lab, asked(lab), sides, "token_forwards", "scorer_calls")


def ranked(lab: Lab) -> Figures:
    """Ten answers ranked by a reward of pairs, and by likelihood."""
    sides: Sides = {
        "by reward": (BestOf(10, REWARD), DRAWN),
        "by likelihood": (BestOf(10), DRAWN),
        "drawn": ("plain", DRAWN),
    }
    return found(lab, asked(lab), sides)


def followed(lab: Lab) -> Figures:
    """Tokens by what greedy answers through them are worth, and by the next token's value alone."""
    sides: Sides = {
        "transfer-q": (TransferQ(3, 5.0, 0, REWARD), {}),
        "token by token": ("plain", {"steers": [Controlled("zoo/next", 10.0)]}),
        "greedy": ("plain", {}),
    }
    return found(lab, asked(lab), sides, "token_forwards")


HEADS = (  # why what asks a head falls short
    "the rows of so small a model tell right beginnings from wrong ones between questions (area under the curve .7 to"
    " .9), but hardly between answers to one question: the best of many by a head is little better than a draw"
)
RIGHT = "share of gym questions answered rightly"
CLAIMS = (
    Claim(
        "controlled-decoding",
        "controlled-decoding",
        "blocks of the best of 6 are as good as best of 50; token by token lies between them and the model itself",
        f"{RIGHT}; tokens an answer",
        Worked(controlled, f"`controlled`, `blockwise`, `best-of` by shipped heads, {ON}; T=1"),
        (
            at_least("right, blocks, 6", 0.95, "right, best of 32"),
            at_least("right, blocks, 6", 1.0, "right, token by token"),
            at_least("right, token by token", 1.0, "right, drawn"),
            at_most("token forwards, blocks, 6", 0.5, "token forwards, best of 32"),
        ),
        number=97,
        where_not=HEADS,
    ),
    Claim(
        "ppo-mcts",
        "ppo-mcts",
        "the value model that training leaves behind, in a tree search, beats best of n by it, and the policy alone",
        f"{RIGHT}; tokens and scorer calls an answer",
        Worked(planned, f"`ppo-mcts(5,8,1)`, `best-of(8)` by `zoo/value`, greedy, {ON}"),
        (at_least("right, ppo-mcts", 1.0, "right, best of 8"), at_least("right, ppo-mcts", 1.0, "right, greedy")),
        number=145,
        where_not=HEADS,
    ),
    Claim(
        "pg-td",
        "pg-td",
        "of no more answers that known tests judge, planned ones pass more often than drawn ones, and those than beams",
        f"{RIGHT}; tokens and scorer calls an answer",
        Worked(tested, f"`pg-td(3,64)`, `best-of(16)` by the checker, `beam(4)`, {ON}"),
        (
            at_least("right, pg-td", 1.0, "right, 16 drawn"),
            at_least("right, 16 drawn", 1.0, "right, beam of 4"),
            at_most("scorer calls, pg-td", 1.0, "scorer calls, 16 drawn"),
        ),
        number=46,
    ),
    Claim(
        "rest-rl-vm-mcts",
        "rest-rl-vm-mcts",
        "of as many answers, a value model finds more right ones by searching lines than by ranking whole answers",
        f"{RIGHT}; tokens and scorer calls an answer",
        Worked(searched, f"`vm-mcts(4,3,3)`, `best-of(12)` by `zoo/reward`, greedy, {ON}"),
        (at_least("right, vm-mcts", 1.0, "right, best of 12"), at_least("right, best of 12", 1.0, "right, greedy")),
        number=256,
        where_not=HEADS,
    ),
    Claim(
        "reward-ranker",
        "reward-ranker",
        "ten answers ranked by a reward that was trained on pairs, its own mistakes twice, beat a model twice as large",
        RIGHT,
        Worked(ranked, f"`best-of(10)` by `zoo/reward`, by likelihood, one draw, {ON}; T=1"),
        (
            at_least("right, by reward", 1.0, "right, by likelihood"),
            at_least("right, by reward", 1.2, "right, drawn"),
        ),
        number=44,
        where_not=HEADS,
    ),
    Claim(
        "transfer-q-star",
        "transfer-q-star",
        "rewards of whole answers through each token guide better than values of the next token, and than nothing",
        f"{RIGHT}; tokens an answer",
        Worked(followed, f"`transfer-q(3,5,0)` by `zoo/reward`, `controlled(zoo/next,10)`, greedy, {ON}; T=0"),
        (
            at_least("right, transfer-q", 1.0, "right, token by token"),
            at_least("right, transfer-q", 1.0, "right, greedy"),
        ),
        number=193,
        where_not=HEADS,
    ),
)
