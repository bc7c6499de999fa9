"""`stretto compress FILE`: any bytes without loss, by what a model finds likely; `stretto expand` gives them back."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequest, StrettoError
from ..files import replacing, require_writable
from .arguments import MODEL, SHOWN_AFTER, waiting

if TYPE_CHECKING:
    from ..coding import Coding

Action = Callable[..., Any]  # of a file to read, one to write, and who is told of plain bytes that are done
ENDING = ".str"  # of files that were compressed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what to compress")
    add_options(parser, f"where it goes (FILE{ENDING})")
    parser.add_argument("--window", type=int, metavar="N", help="tokens that are read at a time (512)")
    parser.add_argument("--context", type=int, metavar="N", help="tokens that a window has of the one before (256)")


def add_options(parser: argparse.ArgumentParser, where: str) -> None:
    """What both directions share."""
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help=where)
    parser.add_argument("--model", default=MODEL, help=f"a folder, a shipped model or a hub name ({MODEL})")
    parser.add_argument("--adapter", metavar="FOLDER", help="low-rank weights (LoRA) to merge into the model")
    parser.add_argument("--dtype", default="auto", help="float32, bfloat16, float16 or auto")
    parser.add_argument("--weights", default="auto", help="auto, float32, int8 or int4")


def run(given: argparse.Namespace) -> int:
    """Compress, and say how well."""
    out = given.out or given.file.with_name(given.file.name + ENDING)
    chosen = {name: getattr(given, name) for name in ("window", "context") if getattr(given, name) is not None}
    before = given.file.stat().st_size
    code(given, out, lambda coding: coding.write, before, **chosen)
    after = out.stat().st_size
    told = f", {8 * after / before:.3f} bits a byte" if before else ""
    print(f"{out}: {before:,} bytes in {after:,}{told}")
    return 0


def code(given: argparse.Namespace, out: Path, action: Callable[[Coding], Action], size: int = 0, **set_: int) -> None:
    """From file to file, visibly, of so many plain bytes (0: unknown); where it fails nothing is written.

    Raises the errors of `Coding`, with the file's name.
    """
    from tqdm import tqdm

    require_writable(out)
    with given.file.open("rb") as source:
        if out.exists() and out.samefile(given.file):
            raise InvalidRequest(f"{out} would be written over itself", hint="name another file with -o")
        coding = _coding(given, set_)
        try:
            with (
                replacing(out) as fresh,
                fresh.open("wb") as written,
                tqdm(
                    total=size or None, unit="B", unit_scale=True, delay=SHOWN_AFTER, disable=None, leave=False
                ) as bar,
            ):
                action(coding)(source, written, bar.update)
        except StrettoError as error:
            raise type(error)(f"{given.file}: {error.message}", hint=error.hint) from error


def _coding(given: argparse.Namespace, set_: dict[str, int]) -> Coding:
    with waiting(f"loading {given.model}"):
        from ..coding import Coding
        from ..engine import Engine

        numbers = {"dtype": given.dtype, "weights": given.weights, "device": "cpu"}
        engine = Engine.load(given.model, adapter=given.adapter, exact="bits", reproducible=True, **numbers)
    return Coding(engine, **set_)
