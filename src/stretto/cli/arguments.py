"""What commands share: options for the model, the method and the request, prompts, and waiting visibly."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from ..aliases import FORMS
from ..errors import InvalidRequest, Unsupported
from .fields import settings_of

if TYPE_CHECKING:
    from ..engine import Engine, Prompt
    from ..method import Method


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are typed errors: one line and a hint, like all others."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise InvalidRequest instead of printing the usage."""
        raise InvalidRequest(message, hint=f"see {self.prog} --help")


# -- model and method -----------------------------------------------------------------------------


MODEL = "zoo/causal"  # where none is named


def add_model(parser: argparse.ArgumentParser) -> None:
    """--model, --adapter, --dtype, --device, --weights, --exact, --reproducible, --store: what `load_engine` reads."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", default=MODEL, help=f"a folder, a shipped model or a hub name ({MODEL})")
    group.add_argument("--adapter", metavar="FOLDER", help="low-rank weights (LoRA) to merge into the model")
    group.add_argument("--dtype", default="auto", help="float32, bfloat16, float16 or auto")
    group.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 … or auto")
    group.add_argument("--weights", default="auto", help="auto, float32, int8 or int4 (on the CPU)")
    group.add_argument(
        "--exact", default="tokens", help="tokens, or bits: windows, drafts and batches compute the same bits, slower"
    )
    group.add_argument("--reproducible", action="store_true", help="choose kernels by rule instead of by the clock")
    group.add_argument("--store", help="in what form the cache is kept, such as int4-cache (docs/memory.md)")


def load_engine(given: argparse.Namespace, **options: Any) -> Engine:
    """The engine of the options of `add_model`, and of others that `Engine.load` takes."""
    with waiting(f"loading {given.model}"), _uncollected():
        from ..engine import Engine

        return Engine.load(
            given.model,
            adapter=given.adapter,
            dtype=given.dtype,
            device=given.device,
            weights=given.weights,
            exact=given.exact,
            reproducible=given.reproducible,
            store=given.store,
            **options,
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage meanwhile: importing and loading make many objects that stay, and few that do not."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def load_continuing(given: argparse.Namespace, *, hint: str) -> Engine:
    """The same where nothing but left to right will do. Raises Unsupported, with the hint, for one that fills masks."""
    engine = load_engine(given)
    from ..models.contract import masking_of

    if masking_of(engine.model) is not None:
        raise Unsupported(f"{given.model} fills masks, and this is of models that continue text", hint=hint)
    return engine


def add_method(parser: argparse.ArgumentParser) -> None:
    """--method: what `named_method` reads."""
    from ..family import families

    usual = {family.masks: family.default for family in families() if family.default}
    told = f"{usual[False]}; of models that fill masks: {usual[True]}"
    parser.add_argument("--method", help=f"see `stretto methods`; 'plain' drafts nothing ({told})")


def named_method(given: argparse.Namespace) -> Method | None:
    """The method of the option of `add_method`; None leaves it to the model."""
    return None if given.method is None else read_method(given.method)


def read_method(text: str) -> Method:
    """A method from its text form, checked before a model is loaded."""
    from ..method import parse

    return parse(text)


# -- the request ------------------------------------------------------------------------------------


def add_settings(parser: argparse.ArgumentParser, *, without: tuple[str, ...] = ()) -> None:
    """One option for each setting of `Request`; only what the user gives is passed on."""
    from ..request import Request

    group = parser.add_argument_group("settings")
    for setting in settings_of(Request):
        if setting.name not in without and setting.annotation in READERS:  # functions have no text
            option = "--" + setting.name.replace("_", "-")
            names = [option, OTHERWISE[setting.name]] if setting.name in OTHERWISE else [option]
            default = setting.default
            shown = f" ({default})" if isinstance(default, int | float) else ""
            group.add_argument(
                *names,
                dest=setting.name,
                default=argparse.SUPPRESS,
                help=(setting.comment + shown).replace("%", "%%"),
                **READERS[setting.annotation],
            )
    group = parser.add_argument_group("what an answer must be: one of these, or --constraint")
    for option, options in MUST_BE.items():
        group.add_argument(option, default=argparse.SUPPRESS, **options)


def read_settings(given: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given. Raises InvalidRequest out of range, before a model is loaded."""
    from ..request import Request

    names = {setting.name for setting in settings_of(Request)} | FORMS
    settings = {name: value for name, value in vars(given).items() if name in names}
    Request.of(settings)
    return settings


def token_ids(text: str) -> list[int]:
    """Token ids between commas or spaces."""
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of token ids such as 5,17") from None


def _number_or_none(text: str) -> int | None:
    try:
        return None if text.lower() == "none" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor none") from None


def _biases(text: str) -> dict[int, float]:
    try:
        pairs = [pair.split(":") for pair in text.replace(",", " ").split()]
        return {int(token): float(bias) for token, bias in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of biases such as 5:1.5,17:-2") from None


OTHERWISE = {
    "log_probabilities": "--log-probs",
    "steers": "--steer",
    "edits": "--control-vector",
}  # settings with a second name
MUST_BE: dict[str, dict[str, Any]] = {  # options that name a constraint: see `constrain/forms.py`
    "--schema": {"metavar": "FILE", "help": "JSON that is valid under the JSON Schema in FILE, or under TEXT"},
    "--json-object": {"action": "store_true", "help": "a JSON object"},
    "--regex": {"metavar": "TEXT", "help": "what matches the regular expression as a whole"},
    "--grammar": {"metavar": "FILE", "help": "a sentence of the grammar in FILE, or TEXT: Lark's, GBNF or our own"},
    "--choice": {"metavar": "TEXT", "action": "append", "dest": "choices", "help": "one of the texts; may be repeated"},
    "--tools": {"metavar": "FILE", "help": "a call of one of the functions in FILE, a JSON list as OpenAI has them"},
    "--after": {"metavar": "TEXT", "help": "only behind this text, such as </think>; up to it the answer is free"},
    "--close": {
        "action": "store_true",
        "help": "complete within --max-new-tokens, whatever the model would go on with",
    },
}
READERS: dict[str, dict[str, Any]] = {  # annotation in Request -> how its option is read
    "int": {"type": int, "metavar": "N"},
    "float": {"type": float, "metavar": "X"},
    "int | None": {"type": _number_or_none, "metavar": "N"},
    "Iterable[int]": {"type": token_ids, "metavar": "ID,…"},
    "Iterable[int] | None": {"type": token_ids, "metavar": "ID,…"},
    "Mapping[int, float]": {"type": _biases, "metavar": "ID:X,…"},
    "Literal['stretto', 'model']": {"choices": ["stretto", "model"]},
    "str | Iterable[str]": {"action": "append", "metavar": "TEXT"},
    "str | Constraint | None": {"metavar": "PART"},
    "Iterable[str | Callable[..., Any]]": {"action": "append", "metavar": "PART"},
    "Iterable[str | Path | ControlVector | Vector]": {"action": "append", "metavar": "FILE[:STRENGTH]"},
}


# -- prompts ----------------------------------------------------------------------------------------


def add_prompts(parser: argparse.ArgumentParser, *, several: str) -> None:
    """PROMPT …, --chat, --system, --ids: what `read_prompts` and `as_prompt` read."""
    parser.add_argument(
        "prompt", nargs="*", metavar="PROMPT", help=f"text to continue, or - for standard input; {several}"
    )
    parser.add_argument("--system", metavar="TEXT", help="a system message before the prompt; implies --chat")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--chat", action="store_true", help="PROMPT is a message of the user, which the model answers")
    group.add_argument("--ids", action="store_true", help="prompts are token ids, such as '5 17 3'")
    group.add_argument(
        "--infill", action="store_true", help="fill the holes of the text itself: <|5|> is a hole of five tokens"
    )
    group.add_argument("--raw", action=_Raw, nargs=0, help=argparse.SUPPRESS)


class _Raw(argparse.Action):
    """An option that is gone."""

    def __call__(self, *_: object) -> None:
        raise InvalidRequest("there is no --raw any more", hint="leave it out: text is continued as it stands")


def read_prompts(given: argparse.Namespace) -> list[str]:
    """The prompts as text; standard input where there is none, unless that is a terminal."""
    if not given.prompt and sys.stdin.isatty():
        raise InvalidRequest("there is no prompt", hint="name one in quotes, or - to read it from standard input")
    if given.system and (given.ids or given.infill):
        raise InvalidRequest("--system is of messages, not of ids or holes", hint="leave it out, or give text")
    return [_standard_input() if prompt == "-" else prompt for prompt in given.prompt or ["-"]]


def _standard_input() -> str:
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidRequest("standard input is not UTF-8 text", hint="convert it first") from error


def as_prompt(engine: Engine, text: str, given: argparse.Namespace) -> Prompt:
    """The text itself, its token ids, or a user's message; as the options say."""
    if given.ids:
        try:
            return token_ids(text)
        except argparse.ArgumentTypeError as error:
            raise InvalidRequest(str(error), hint="leave out --ids to give text") from error
    if not text or not (given.chat or given.system):  # no text: the engine says so
        return text
    messages = question(text, given.system)
    if (tools := getattr(given, "tools", None)) is None:
        return messages
    from ..constrain.tools import objects
    from ..messages import Conversation

    return Conversation(messages, objects(tools))


def question(text: str, system: str | None = None) -> list[dict[str, str]]:
    """A user's message, after the system's."""
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]


# -- waiting ----------------------------------------------------------------------------------------


SHOWN_AFTER = 2.0  # seconds after which a progress bar appears


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A passing line on the terminal while something takes its time; nothing elsewhere."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"{what} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
