"""`stretto expand FILE`: the bytes that `stretto compress` wrote, bit by bit."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InvalidRequest
from .compress import ENDING, add_options, code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("file", type=Path, metavar="FILE", help="what was compressed")
    add_options(parser, f"where it goes (FILE without {ENDING})")


def run(given: argparse.Namespace) -> int:
    """Expand, and say how much it is."""
    if given.out is None and given.file.suffix != ENDING:
        raise InvalidRequest(f"{given.file} does not end in {ENDING}", hint="name a file to write to with -o")
    out = given.out or given.file.with_suffix("")
    code(given, out, lambda coding: coding.read)
    print(f"{out}: {out.stat().st_size:,} bytes")
    return 0
