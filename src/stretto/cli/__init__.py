"""The command line: one file per command, loaded when the command is called.

Each command's module has `add_arguments(parser)` and `run(arguments) -> exit status`. Status 0: done,
1: a difference was found, 2: the user's mistake, in one line on standard error; 130: interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .. import __version__, aliases
from ..errors import InvalidRequest, NotTaken, StrettoError, UnknownName, closest
from ..lazy import postponed
from .arguments import Parser

COMMANDS = {
    "generate": "answer prompts, streaming",
    "chat": "converse",
    "serve": "answer over HTTP, as OpenAI's API does",
    "batch": "answer the requests of a file, in the form of OpenAI's batch files",
    "compress": "write any bytes in as few bits as a model finds them likely",
    "expand": "give back the bytes that were compressed",
    "methods": "list the ways of decoding, or the parts they are made of",
    "verify": "check that two methods give the same tokens",
    "laws": "put the parts of a file to the laws that the package's own obey",
    "fuzz": "try drawn combinations of methods, settings and batches against what must be equal",
    "diagnose": "measure traces, or how far ahead a model's hidden states see",
    "store": "build a datastore of texts, from which drafts are retrieved",
    "clock": "show what evaluating windows of 1 to 64 tokens costs here",
    "bench": "measure methods against each other and against transformers",
    "train": "train the models that ship with stretto, or calibrate parts for a masked model",
    "demo": "a short show: drafting, its speed, and that it changes no token",
}
PLUGIN = "a Python file whose parts join those of the package; it is run"
ELSEWHERE = {
    "bench": "stretto.bench.command",
    "train": "stretto.train.command",
}  # commands that stand beside what they command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Raises SystemExit only after --help and --version."""
    given = list(sys.argv[1:] if argv is None else argv)
    if hasattr(sys.stdout, "reconfigure"):  # a model may write what the terminal's encoding lacks
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            with warnings.catch_warnings(), postponed():
                warnings.simplefilter("always", NotTaken)
                warnings.showwarning = _noted(warnings.showwarning)
                return _run(given)
        finally:
            sys.stdout.flush()
    except StrettoError as error:
        return _complain(str(error))
    except BrokenPipeError:  # the reader has seen enough; nothing may be flushed into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _complain(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        return 130


def _run(given: list[str]) -> int:
    parser = Parser(prog="stretto", description="Decode generative token models: exactly, fast, and visibly.")
    parser.add_argument("--version", action="version", version=f"stretto {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    called = given[0] if given else "--help"
    if called.startswith("-") and called not in ("-h", "--help", "--version"):
        raise InvalidRequest(f"{called} stands before any command", hint="name the command first: stretto generate …")
    if not called.startswith("-") and called not in COMMANDS:
        hint = aliases.COMMANDS.get(called) or closest(called, COMMANDS)
        raise UnknownName(f"there is no command {called!r}", hint=hint)
    chosen = parser
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == called:  # only now, so that `stretto --help` loads no model stack
            module = importlib.import_module(ELSEWHERE.get(name, f"stretto.cli.{name}"))
            module.add_arguments(command)
            command.add_argument("--plugin", action="append", default=[], metavar="FILE", help=PLUGIN)
            chosen = command
    known = [option for action in chosen._actions for option in action.option_strings]
    arguments, surplus = parser.parse_known_args(translated(given, known) or ["--help"])
    if surplus:
        option = surplus[0].partition("=")[0]
        hint = aliases.meant(option, known, f"see stretto {called} --help")
        raise InvalidRequest(f"stretto {called} knows no {surplus[0]!r}", hint=hint)
    for file in arguments.plugin:
        from ..catalogue import plug_in

        plug_in(file)
    return int(module.run(arguments))


def translated(words: Sequence[str], known: Sequence[str]) -> list[str]:
    """The command line with our options for those of others that mean the same.

    Raises InvalidRequest where one is given under two names.
    """
    written: dict[str, str] = {}  # our option -> as it was written first
    end = words.index("--") if "--" in words else len(words)
    found = []
    for word in words[:end]:
        theirs, equals, value = word.partition("=")
        same = aliases.SAME.get(theirs.removeprefix("--").replace("-", "_"), "") if theirs.startswith("--") else ""
        option = f"--{same.replace('_', '-')}" if same and theirs not in known else theirs
        if option in known and option.startswith("--"):
            first = written.setdefault(option, theirs)
            if first != theirs:
                raise InvalidRequest(f"{first} and {theirs} are the same option", hint=f"give {option} alone")
        found.append(option + equals + value if option in known else word)
    return [*found, *words[end:]]


def _noted(show: Callable[..., None]) -> Callable[..., None]:
    """Shows our own warnings in one line on standard error, others as before."""

    def line(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if issubclass(category, NotTaken):
            print("stretto:", " ".join(str(message).split()), file=sys.stderr)
        else:
            show(message, category, *place)

    return line


def _complain(message: str) -> int:
    print("stretto:", " ".join(message.split()), file=sys.stderr)
    return 2
