"""`stretto store build`: texts of a folder as a datastore, for the drafters `store` and `codeswift`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidRequest
from .arguments import SHOWN_AFTER, waiting

if TYPE_CHECKING:
    from ..models.tokenizer import Tokenizer
    from ..speculate.datastore import Datastore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The one action and its options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "tokenise the text files of a folder; files that have not changed since the last time are kept"
    build = actions.add_parser("build", help=summary, description=summary[0].upper() + summary[1:] + ".")
    build.add_argument(
        "folder", metavar="FOLDER", help="where the texts are; hidden files and what is no text are left out"
    )
    build.add_argument(
        "--model", default="zoo/causal", help="whose tokenizer: a folder, a shipped model or a hub name (zoo/causal)"
    )
    build.add_argument(
        "--out", default="stretto.store", metavar="FOLDER", help="where the datastore goes (stretto.store)"
    )
    build.add_argument(
        "--match", action="append", default=[], metavar="PATTERN", help="only such files, as '*.py'; may be repeated"
    )
    build.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="no such files; may be repeated"
    )
    build.add_argument("--ids", action="store_true", help="files hold token ids, such as '5 17 3'")


def run(given: argparse.Namespace) -> int:
    """Build, and say what came of it."""
    from tqdm import tqdm

    from ..models.load import opened
    from ..speculate.datastore import build, gather, place_for
    from ..text import fingerprint

    place_for(given.out)
    with waiting(f"loading {given.model}"):
        tokenizer = opened(given.model).tokenizer()
    encode: Callable[[str], Sequence[int]] = _ids
    identity: str | None = None
    vocabulary: int | None = None
    blanks: list[int] = []
    if tokenizer is not None:
        identity = fingerprint(tokenizer)
        vocabulary = 1 + max(tokenizer.get_vocab().values())
        texts = tokenizer.batch_decode([[token] for token in range(vocabulary)])
        blanks = [token for token, text in enumerate(texts) if text.isspace()]
    if not given.ids:
        if tokenizer is None:
            raise InvalidRequest(f"{given.model} has no tokenizer", hint="give token ids, with --ids")
        encode = partial(_tokens, tokenizer)
    gathered = gather(
        given.folder,
        encode,
        match=given.match,
        exclude=given.exclude,
        form="ids" if given.ids else "text",
        previous=_previous(given.out, identity),
        each=lambda files: tqdm(files, unit="file", delay=SHOWN_AFTER, disable=None, leave=False),
    )
    with waiting("sorting"):
        store = build(gathered.documents, given.out, tokenizer=identity, vocabulary=vocabulary, blanks=blanks)
    about = store.about
    notes = [f"{gathered.unchanged} unchanged"] if gathered.unchanged else []
    notes += [f"{gathered.skipped} skipped, no text"] if gathered.skipped else []
    print(
        f"{given.out}: {about.documents} documents, {about.tokens:,} tokens"
        + (f" ({', '.join(notes)})" if notes else "")
    )
    return 0


def _previous(out: str, tokenizer: str | None) -> Datastore | None:
    """The store that is there, if its tokens can be kept."""
    from ..speculate.datastore import Datastore

    if not (Path(out).expanduser() / "store.json").exists():
        return None
    try:
        store = Datastore.open(out)
    except InvalidRequest:  # damaged, or of another format: all is built anew
        return None
    return store if store.about.tokenizer == tokenizer else None


def _tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def _ids(text: str) -> list[int]:
    return [int(part) for part in text.replace(",", " ").split()]
