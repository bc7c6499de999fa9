"""`stretto chat`: a conversation."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequest, StrettoError
from .arguments import add_method, add_model, add_settings, load_engine, named_method, read_method, read_settings
from .generate import statistics, stream, write_now
from .paint import Colours, Margin, in_colours, on_terminal

if TYPE_CHECKING:
    from ..engine import Engine
    from ..generation import Counters
    from ..method import Method

COMMANDS = {
    "/help": "names the commands",
    "/reset": "forgets the conversation",
    "/stats": "counts tokens, rounds and drafts",
    "/method NAME": "decodes by another method; without a name it tells which",
    "/quit": "ends",
}
HELP = "/reset forgets the conversation, /stats counts, /method NAME decodes by another, /quit ends, /help tells more"
SHARE = 4  # of the positions, the part that a long conversation leaves free for an answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.epilog = f"In the chat: {HELP}. Ctrl-C stops an answer, not the chat."
    add_method(parser)
    parser.add_argument("--system", metavar="TEXT", help="a system message before the conversation")
    parser.add_argument("--show-draft", action="store_true", help="on a terminal, colour tokens by who guessed them")
    add_model(parser)
    add_settings(parser, without=("samples",))


def run(given: argparse.Namespace) -> int:
    """Converse until /quit or the end of the input. Status 2 where a piped question failed."""
    from ..method import default, describe, parse

    settings, method = read_settings(given), named_method(given)
    engine = load_engine(given)
    if not engine.codec.has_template:
        raise InvalidRequest(f"{given.model} has no chat template", hint="use stretto generate, which continues text")
    method = method or parse(default(engine.model))
    chat = Chat(engine, method, settings, given.system, Colours(given.show_draft and in_colours()))
    interactive = sys.stdin.isatty()
    if interactive:
        with suppress(ImportError):  # not on every platform
            import readline  # noqa: F401  (importing it gives input() its line editing and its history)

        print(f"{given.model}, {given.method or describe(method)}. {HELP}.")
    failed = False
    while (line := read_line(interactive)) is not None:
        try:
            if line.strip() == "/quit":
                break
            chat.take(line)
        except StrettoError as error:
            failed = True
            print(f"stretto: {error}", file=sys.stderr, flush=True)
    return 2 if failed and not interactive else 0


def read_line(interactive: bool) -> str | None:
    """The next line of the user; None at the end of the input."""
    try:
        return input("> " if interactive else "")
    except EOFError:
        if interactive:
            print()
        return None
    except KeyboardInterrupt:
        if not interactive:
            raise
        print("\n(/quit or Ctrl-D ends the chat)")
        return ""


class Chat:
    """The conversation so far, and how it is answered."""

    def __init__(
        self, engine: Engine, method: Method, settings: dict[str, Any], system: str | None, colours: Colours
    ) -> None:
        from ..generation import Counters

        self.engine = engine
        self.method = method
        self.settings = settings
        self.colours = colours
        self.counters: Counters = Counters()
        self._start = [{"role": "system", "content": system}] if system else []
        self.messages = list(self._start)
        self._forgetting = False  # whether it was said that old turns are left out

    def take(self, line: str) -> None:
        """Obey a command, or answer."""
        command, _, rest = line.strip().partition(" ")
        if not command:
            return
        if not command.startswith("/"):
            self.answer(line)
        elif command == "/help":
            print("\n".join(f"{name:14}{what}" for name, what in COMMANDS.items()))
            print("Arrow keys bring earlier lines back, Ctrl-C stops an answer, Ctrl-D ends the chat.")
        elif command == "/reset":
            self.messages = list(self._start)
            self._forgetting = False
            print("(a new conversation)")
        elif command == "/stats":
            print(f"({statistics(self.counters)})")
        elif command == "/method":
            self._change_method(rest.strip())
        else:
            raise InvalidRequest(f"there is no command {command}", hint=HELP)

    def answer(self, text: str) -> None:
        """Stream the answer to `text`; what an interrupt leaves of it stays in the conversation."""
        prompt = self._fitting([*self.messages, {"role": "user", "content": text}])
        margin = Margin(get_terminal_size().columns) if on_terminal() else None
        write = write_now if margin is None else lambda text: write_now(margin.feed(text))
        generation = stream(self.engine, prompt, self.method, self.settings, self.colours, write=write)
        print(margin.finish() if margin else "", end="")
        print(" (stopped)" if generation.finish == "interrupt" else "", flush=True)
        self.messages = [*prompt, {"role": "assistant", "content": generation.text}]
        self.counters.add(generation.counters)

    def _fitting(self, prompt: list[dict[str, str]]) -> list[dict[str, str]]:
        """The conversation without its oldest turns, where there would be no room for an answer; and say so once."""
        from ..request import Request

        positions = self.engine.model.max_positions
        room = min(Request.of(self.settings).max_new_tokens, positions // SHARE)
        first = len(self._start)
        while len(prompt) > first + 1 and len(self.engine.codec.encode(prompt)) + room > positions:
            del prompt[first : first + 2]  # a question and its answer
            if not self._forgetting:
                print("(the conversation outgrows the model's positions: its oldest turns are forgotten)")
            self._forgetting = True
        return prompt

    def _change_method(self, text: str) -> None:
        from .. import method

        if text:
            chosen = read_method(text)
            method.check(chosen, self.engine.model)
            self.method = chosen
        print(f"(method {method.describe(self.method)})")
