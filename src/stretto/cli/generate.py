"""`stretto generate`: answer prompts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequest
from ..files import require_writable, write_text
from .arguments import (
    SHOWN_AFTER,
    add_method,
    add_model,
    add_prompts,
    add_settings,
    as_prompt,
    load_engine,
    named_method,
    read_prompts,
    read_settings,
    waiting,
)
from .paint import Colours, Painter, in_colours, painted

if TYPE_CHECKING:
    from ..engine import Engine, Prompt
    from ..generation import Counters, Generation
    from ..method import Method
    from ..request import Request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    add_prompts(parser, several="several are answered side by side")
    add_method(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--stats", action="store_true", help="a line on standard error: statistics, and what is guaranteed"
    )
    output.add_argument(
        "--trace",
        metavar="FILE",
        type=Path,
        help="save how each token came about: as a page to look at (FILE.html), or as JSON",
    )
    output.add_argument("--picture", metavar="FILE", type=Path, help="the same as a picture: a page of HTML")
    form = output.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one line of JSON for each answer, with everything in it")
    form.add_argument(
        "--show-draft",
        nargs="?",
        const="auto",
        choices=["auto", "always"],
        help="colour each token by who guessed it: on a terminal unless NO_COLOR is set, or always",
    )
    add_model(parser)
    add_settings(parser)


def run(given: argparse.Namespace) -> int:
    """Answer, one prompt streaming, several side by side. Status 130 where interrupted, 2 where one failed."""
    from ..constrain.tools import ANY, Toolbox
    from ..messages import Conversation
    from ..request import Request

    settings, method = read_settings(given), named_method(given)
    request = Request.of(settings)
    texts = read_prompts(given)
    alone = len(texts) == 1 and request.samples == 1
    for file in filter(None, (given.trace, given.picture)):
        if not alone:
            raise InvalidRequest("a trace is of one answer", hint="give one prompt, and no --samples")
        require_writable(file)
    engine = load_engine(given)
    colours = Colours(given.show_draft == "always" or (given.show_draft == "auto" and in_colours()))
    prompts = [text if given.infill else as_prompt(engine, text, given) for text in texts]
    if "tools" in settings and isinstance(prompts[0], Conversation):
        settings["tools"] = Toolbox.of(prompts[0].tools, ANY, engine.codec.chats.template(prompts[0]))
    continued = not (given.chat or given.system or given.ids or given.infill)
    if continued and engine.codec.has_template and sys.stderr.isatty():
        print("(continuing the text as it stands; --chat asks the model instead)", file=sys.stderr)
    if alone and not given.json and not given.infill:
        answers = [stream(engine, prompts[0], method, settings, colours)]
        print()
    else:
        with answering(engine, given, len(prompts) * request.samples) as answer:
            answers = together(answer, prompts, method, settings)
        _print_all(engine, answers, request, colours, given)
    if colours.enabled:
        print(colours.legend())
    _report(engine, answers, given)
    if any(answer.finish == "interrupt" for answer in answers):
        return 130
    return 2 if any(answer.error for answer in answers) else 0


def write_now(text: str) -> None:
    """To standard output, without waiting for the line's end."""
    print(text, end="", flush=True)


def stream(
    engine: Engine,
    prompt: Prompt,
    method: str | Method | None,
    settings: dict[str, Any],
    colours: Colours,
    *,
    write: Callable[[str], None] = write_now,
) -> Generation:
    """Write one answer as it comes; an interrupt ends it, and what there is stays."""
    pieces = engine.stream(prompt, method, **settings)
    prompt_tokens = pieces.generation.prompt_tokens
    painter = Painter(engine, prompt_tokens, engine.request(settings), colours) if colours.enabled else None
    try:
        for piece in pieces:
            write(painter.feed(piece.tokens, piece.sources) if painter else piece.text)
    except KeyboardInterrupt:  # between two rounds; within one the engine has caught it
        pass
    if painter:
        write(painter.finish())
    return pieces.generation


@contextmanager
def answering(engine: Engine, given: argparse.Namespace, count: int) -> Iterator[Callable[..., Any]]:
    """What answers, with a bar on a terminal that tells how many of `count` answers have ended, if it takes long."""
    if given.infill or count == 1:
        with waiting(f"answering {count} times" if count > 1 else "answering"):
            yield engine.infill if given.infill else engine.generate
        return
    from tqdm import tqdm

    with tqdm(
        total=count, unit="answer", delay=SHOWN_AFTER, mininterval=0, miniters=1, disable=None, leave=False
    ) as bar:
        yield partial(engine.generate, watch=lambda ended: bar.update(ended - bar.n))


def together(
    answer: Callable[..., Any], prompts: Sequence[Prompt], method: Method | None, settings: dict[str, Any]
) -> list[Generation]:
    """Answer side by side; a single bad prompt raises, one among others leaves its error in its answer."""
    answers = answer(prompts[0] if len(prompts) == 1 else prompts, method, **settings)
    return answers if isinstance(answers, list) else [answers]


def _print_all(
    engine: Engine, answers: list[Generation], request: Request, colours: Colours, given: argparse.Namespace
) -> None:
    """Answers that were not streamed, under titles or as JSON; what failed, on standard error."""
    for number, answer in enumerate(answers):
        title = f"prompt {1 + number // request.samples}"
        if request.samples > 1:
            title += f", sample {1 + number % request.samples}"
        if given.json:
            print(json.dumps(answer.record(), ensure_ascii=False), flush=True)
        elif answer.error is None:
            text = painted(engine, answer, request, colours)
            if given.infill:  # the whole text, not only what stands from the first hole on
                text = engine.decode(answer.prompt_tokens) + text
            print(text if len(answers) == 1 else f"== {title} ==\n{text}\n", flush=True)
        if answer.error is not None:
            print(f"stretto: {title}: {answer.error}", file=sys.stderr)


def _report(engine: Engine, answers: list[Generation], given: argparse.Namespace) -> None:
    """Log-probabilities and statistics on standard error, the trace into its file."""
    from ..generation import Counters

    sys.stdout.flush()
    if not given.json:
        for answer in answers:
            _log_probabilities(engine, answer)
    if given.stats:
        total = Counters()
        for answer in answers:
            total.add(answer.counters)
        total.rounds = max(answer.counters.rounds for answer in answers)  # they share rounds, and their time
        total.seconds = max(answer.counters.seconds for answer in answers)
        promised = {answer.guarantee: None for answer in answers if answer.guarantee}
        print("; ".join([statistics(total), *promised]), file=sys.stderr)
    if given.trace:
        from ..page import page, traced

        trace = traced(answers[0], engine.codec)
        drawn = given.trace.suffix.lower() in (".html", ".htm")
        write_text(given.trace, page([trace]) if drawn else json.dumps(trace, indent=1, ensure_ascii=False) + "\n")
    if given.picture:
        from ..diagnose import picture

        write_text(given.picture, picture.page(answers[0], lambda token: engine.decode([token])))


def _log_probabilities(engine: Engine, answer: Generation) -> None:
    """A line for each token: raw, steered, and the best others."""
    for entry in answer.log_probabilities or ():
        best = "  ".join(f"{engine.decode([token])!r} {value:.2f}" for token, value in entry.top_steered)
        text = repr(engine.decode([entry.token]))
        print(f"{text:16} raw {entry.raw:7.3f}  steered {entry.steered:7.3f}  {best}".rstrip(), file=sys.stderr)


def statistics(counters: Counters) -> str:
    """One line: how fast, in how many rounds, and what drafting gave."""
    guessed = f"{counters.accepted} of {counters.drafted} drafted tokens accepted" if counters.drafted else "no drafts"
    judged = f", a judge asked {counters.judged} times, {counters.shut_out} tokens shut out" if counters.judged else ""
    return (
        f"{counters.new_tokens} tokens, {counters.tokens_per_second:.0f} tokens/s, {counters.rounds} rounds, "
        f"{counters.tokens_per_round:.2f} tokens per round, {guessed}{judged}"
    )
