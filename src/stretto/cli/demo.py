"""`stretto demo`: the shipped model answers, drafting; then how fast that was, and that it changed no token."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from .arguments import load_continuing, waiting
from .generate import stream, write_now
from .paint import Colours, in_colours

if TYPE_CHECKING:
    from ..engine import Engine
    from ..generation import Counters, Generation
    from ..gym import Question
    from ..method import Method

KINDS = {  # what is asked, and who guesses: copying by lookup, the rest by the small model or the head
    "extract_json": "lookup",
    "word_problem": "draft",
    "python_rename": "lookup",
    "sql": "head",
    "copy_edit": "lookup",
    "worked_arithmetic": "head",
    "table_sentences": "draft",
    "list_edit": "lookup",
}
SHOWN = 5  # questions
TRIES = 4  # questions of a kind, until the model solves one
REPEATS = 3  # timed decodes of each question by each method, in turn
WIDTH = 78  # columns
MARGIN = "  "
HEADS = {"zoo/causal": "zoo/eagle"}  # what ships for whom
SETTINGS = {"max_new_tokens": 160}
MASKED = "stretto demo --model zoo/causal; of this one: stretto generate --model … --picture FILE.html --chat '…'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--model", default="zoo/causal", help="who answers (zoo/causal)")
    parser.add_argument("--draft", default="zoo/draft", help="a smaller model of the same tokenizer (zoo/draft)")
    as_it_is = {"adapter": None, "dtype": "auto", "device": "auto", "weights": "auto", "store": None}
    parser.set_defaults(**as_it_is, exact="tokens", reproducible=False)


def run(given: argparse.Namespace) -> int:
    """Show, measure, report."""
    from ..method import parse

    methods = {"lookup": parse("lookup"), "draft": parse(f"draft(model={given.draft})")}
    head = HEADS.get(given.model)
    methods["head"] = parse(f"draft-tree(model={head})+fixed(16,depth=5)") if head else methods["draft"]
    engine = load_continuing(given, hint=MASKED)
    with waiting("choosing questions that the model solves"):
        questions = solved(engine, methods)
    if not questions:
        print(f"{given.model} solves none of the questions that this demo asks, so there is nothing to show.")
        return 1
    print(f"{given.model} answers questions it has never seen.")
    named = f", the head {head}" if head else ""
    print(f"Who guesses: a lookup in the text, the smaller {given.draft}{named}.")
    colours = Colours(in_colours())
    sources: Counter[str] = Counter()
    for question in questions:
        reply = show(engine, question, methods[KINDS[question.kind]], colours)
        sources.update(source for step in reply.steps for source in step.sources)
    with waiting("timing the same answers with and without drafting"):
        race = timed(engine, questions, methods)
        alone = {name: tokens_a_round(engine, questions, methods[name]) for name in ("lookup", "head") if head}
    report(race, sources, colours)
    if head:
        print(f"Alone on these questions: {head} {alone['head']:.2f} tokens a round, lookup {alone['lookup']:.2f}.")
    return 0


def solved(engine: Engine, methods: dict[str, Method]) -> list[Question]:
    """The first question of each kind that the model answers rightly; both decoders are warm afterwards."""
    from ..gym import questions, task
    from ..method import parse

    found: list[Question] = []
    for kind, name in KINDS.items():
        for question in questions(kind, "test", TRIES):
            reply = answer(engine, question, methods[name])
            if task(kind).check(question, reply.text):
                answer(engine, question, parse("plain"))
                found.append(question)
                break
        if len(found) == SHOWN:
            break
    return found


def messages(question: Question) -> list[dict[str, str]]:
    """The question as a chat."""
    return [{"role": "user", "content": question.prompt}]


def answer(engine: Engine, question: Question, method: Method) -> Generation:
    """The whole answer at once; an interrupt ends the demo."""
    reply = engine.generate(messages(question), method, **SETTINGS)
    if reply.finish == "interrupt":
        raise KeyboardInterrupt
    return reply


def show(engine: Engine, question: Question, method: Method, colours: Colours) -> Generation:
    """The question, then its answer as it comes."""
    title = f" {question.kind.replace('_', ' ')} "
    print("\n" + title.center(WIDTH, "─"))
    for line in question.prompt.splitlines():
        print(textwrap.fill(line, WIDTH) if line.strip() else "")
    print()
    column = Column()
    reply = stream(engine, messages(question), method, SETTINGS, colours, write=column.write)
    print()
    if reply.finish == "interrupt":
        raise KeyboardInterrupt
    return reply


class Column:
    """Writes text within margins: breaks lines at spaces near the right edge, and anywhere at the edge."""

    def __init__(self) -> None:
        self._at = 0  # visible characters in this line

    def write(self, text: str) -> None:
        """Escapes take no room."""
        for part in re.split(r"(\x1b\[\d+m)", text):
            write_now(part if part.startswith("\x1b") else "".join(map(self._place, part)))

    def _place(self, character: str) -> str:
        at = self._at
        if character == "\n" or at >= WIDTH or (character == " " and at > WIDTH - 10):
            self._at = 0
            return "\n" if character.isspace() else f"\n{self._place(character)}"
        self._at = max(at, len(MARGIN)) + 1
        return character if at else MARGIN + character


@dataclass(slots=True)
class Race:
    """The same questions decoded plainly and with drafting, in turn."""

    seconds: dict[str, float] = field(default_factory=lambda: {"plain": 0.0, "drafted": 0.0})
    counters: dict[str, Counters] = field(default_factory=dict)
    tokens: int = 0  # of one pass
    identical: int = 0  # of those, up to the first difference of each answer


def timed(engine: Engine, questions: list[Question], methods: dict[str, Method]) -> Race:
    """Decode all questions both ways several times; who goes first changes each time."""
    from ..generation import Counters
    from ..method import parse
    from ..verify import agreement

    race = Race(counters={"plain": Counters(), "drafted": Counters()})
    for repeat in range(REPEATS):
        for number, question in enumerate(questions):
            ways = {"plain": parse("plain"), "drafted": methods[KINDS[question.kind]]}
            order = sorted(ways, reverse=bool((repeat + number) % 2))
            answers = {}
            for way in order:
                begun = perf_counter()
                answers[way] = answer(engine, question, ways[way])
                race.seconds[way] += perf_counter() - begun
                race.counters[way].add(answers[way].counters)
            if repeat == 0:
                race.tokens += len(answers["plain"].tokens)
                race.identical += agreement(answers["plain"].tokens, answers["drafted"].tokens)
    return race


def tokens_a_round(engine: Engine, questions: list[Question], method: Method) -> float:
    """Of one method on all questions."""
    found = [answer(engine, question, method).counters for question in questions]
    return sum(each.new_tokens for each in found) / sum(each.rounds for each in found)


def report(race: Race, sources: Counter[str], colours: Colours) -> None:
    """What was measured in this run, whether it flatters or not."""
    guessed = [f"{colours.paint(name, name)} {count}" for name, count in sources.items() if name]
    print("\n" + "─" * WIDTH)
    print("tokens guessed by: " + ", ".join([*guessed, f"the model itself {sources['']}"]))
    print(f"\n{'in this run':16}{'tokens/s':>10}{'rounds':>10}{'tokens per round':>18}{'drafts accepted':>20}")
    for way, counters in race.counters.items():
        accepted = f"{counters.accepted} of {counters.drafted}" if counters.drafted else "–"
        speed = counters.new_tokens / race.seconds[way]
        print(f"{way:16}{speed:10.0f}{counters.rounds:10}{counters.tokens_per_round:18.2f}{accepted:>20}")
    ratio = race.seconds["plain"] / race.seconds["drafted"]
    print(f"\n{ratio:.2f} times as fast as plain decoding, {race.identical} of {race.tokens} tokens identical.")
    if ratio < 1:
        print("Drafting did not pay in this run.")
