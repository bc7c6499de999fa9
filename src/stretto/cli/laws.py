"""`stretto laws`: put the parts of a file to the laws that the package's own obey."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a Python file that defines parts; it is run")
    parser.add_argument("-k", metavar="WORDS", help="only laws, or parts, that these words are found in")
    parser.add_argument("-x", action="store_true", help="stop at the first law that does not hold")


def run(given: argparse.Namespace) -> int:
    """Try them. Status 1 where a law does not hold."""
    from ..laws.running import run

    return run(given.files, [*(["-k", given.k] if given.k else []), *(["-x"] if given.x else [])])
