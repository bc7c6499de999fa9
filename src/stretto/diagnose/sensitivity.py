"""How much a model's answers depend on how a question is put: PromptSensiScore (ProSA, arXiv 2410.12405).

Each question is put in several ways that ask for the same, answered greedily, and judged by the same checker. What one
way answers rightly and another wrongly counts: S = mean over pairs of ways of |Y − Y'|, and the score is its mean over
questions. Beside it stands how sure the model is of its answers, which is where sensitivity is said to come from.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import gym
from ..entry import Entry, Guarantee
from ..errors import InvalidRequest

ENTRY = Entry(
    name="prosa",
    family="diagnostics",
    source="arXiv 2410.12405; open-compass/ProSA",
    parts="",
    guarantee=Guarantee.NONE,
    number=178,
    summary="how much right answers depend on how a question is put, and how sure the model is of them",
    command="stretto diagnose --phrasings KIND …",
)

TEMPLATES = (  # ways to put a question; its own words stay as they are, and so does what the checker reads
    "{}",
    "Please answer: {}",
    "Question: {}",
    "{} Answer briefly.",
    "Here is a task. {}",
    "Do the following. {}",
    "{}\n",
    "Could you help me? {}",
    "Task: {}\nAnswer:",
    "I would like to know this. {}",
    "{} Thank you.",
    "Think well. {}",
)
QUESTIONS, LONGEST = 20, 96  # of each kind; tokens of an answer
Generate = Callable[..., Any]  # as `Engine.generate`
ALIKE = 2  # below that there is nothing to compare


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What came of one kind of question."""

    kind: str
    right: tuple[float, ...]  # share of right answers, by way to put a question
    score: float  # PromptSensiScore: 0 where all ways do alike
    by_confidence: float  # Spearman's rank correlation of a question's S with its answers' mean log-probability


def sensitivity(outcomes: Sequence[float]) -> float:
    """S of one question: the mean difference between two ways, of outcomes 0 to 1 each."""
    if len(outcomes) < ALIKE or not all(0 <= each <= 1 for each in outcomes):
        raise InvalidRequest(f"outcomes {list(outcomes)}", hint="two ways or more, 0 to 1 each")
    pairs = list(itertools.combinations(outcomes, 2))
    return sum(abs(one - other) for one, other in pairs) / len(pairs)


def ranks(values: Sequence[float]) -> list[float]:
    """From 0; equal ones share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    for _, group in itertools.groupby(enumerate(order), key=lambda each: values[each[1]]):
        some = list(group)
        for _, at in some:
            found[at] = (some[0][0] + some[-1][0]) / 2
    return found


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """The correlation of ranks, −1 to 1; NaN where one side is all the same."""
    one, other = ranks(left), ranks(right)
    middle = (len(one) - 1) / 2
    sums = (sum((a - middle) ** 2 for a in one), sum((b - middle) ** 2 for b in other))
    if not all(sums):
        return math.nan
    return sum((a - middle) * (b - middle) for a, b in zip(one, other, strict=True)) / math.sqrt(sums[0] * sums[1])


def asked(
    generate: Generate, kind: str, count: int, templates: Sequence[str] = TEMPLATES, seed: int = 0
) -> tuple[list[list[float]], list[float]]:
    """Outcomes [question][way], and the mean log-probability of each question's answers, a token.

    Raises UnknownName where the gym has no such kind.
    """
    questions = list(gym.questions(kind, "test", count, seed))
    outcomes, confidence = [], []
    for question in questions:
        chats = [[{"role": "user", "content": template.format(question.prompt)}] for template in templates]
        found = generate(chats, "plain", max_new_tokens=LONGEST, log_probabilities=0)
        check = gym.task(kind).check
        outcomes.append([float(answer.finish == "end" and check(question, answer.text)) for answer in found])
        sure = [each.raw for answer in found for each in answer.log_probabilities or ()]
        confidence.append(sum(sure) / max(1, len(sure)))
    return outcomes, confidence


def of_kind(generate: Generate, kind: str, count: int | None = None, seed: int = 0) -> Sensitivity:
    """How sensitive a model is on questions of one kind of the gym."""
    outcomes, confidence = asked(generate, kind, count or QUESTIONS, seed=seed)
    each = [sensitivity(some) for some in outcomes]
    right = tuple(sum(column) / len(outcomes) for column in zip(*outcomes, strict=True))
    return Sensitivity(kind, right, sum(each) / len(each), spearman(each, confidence))


def table(found: Sequence[Sensitivity]) -> str:
    """A line for each kind."""
    lines = ["kind               PSS    right: best way  worst  mean   rank correlation with confidence"]
    for each in found:
        mean = sum(each.right) / len(each.right)
        lines.append(
            f"{each.kind:18} {each.score:.3f}  {max(each.right):15.3f}  {min(each.right):.3f}  {mean:.3f}  "
            f"{each.by_confidence:.2f}"
        )
    return "\n".join(lines)
