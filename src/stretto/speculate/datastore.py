"""A datastore: token texts on disk with a suffix array, in which drafters look for what they are writing.

A store is a folder with `store.json`, which names the format, the tokenizer, the content, and a folder beside it that
holds the rest: `tokens.npy` (all documents, each ended by a separator), `order.npy` (where the suffixes begin, sorted
by their first `REACH` tokens), `heads.npy` (where in `order` the suffixes with each first token begin), `blanks.npy`
(the tokens that are white space only) and `documents.json`. Arrays are read memory-mapped. A build writes another such
folder and then replaces `store.json`, in one step: so the store is the old one or the new one at any time, and one in
use stays what it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..context import Context
from ..errors import InvalidRequest, Unsupported
from ..files import UNFINISHED, locked, remove, sync, unfinished, write_text
from .counting import NO_TOKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 2  # of the format
REACH = 64  # tokens by which suffixes are sorted: a match and its continuation must fit
ARRAYS = ("tokens", "order", "heads", "blanks")
FILES = (*(f"{name}.npy" for name in ARRAYS), "documents.json")
DATA = re.compile("data-[0-9a-f]{8}")  # the folder that holds them
SMALL = 1 << 24  # bytes; larger files are read through only where their time says that they were touched
HINT = "build one with: stretto store build FOLDER"


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a store."""

    name: str
    tokens: Sequence[int] | NDArray[Any]
    digest: str = ""  # of what the tokens were made from; tells whether it has changed


@dataclass(frozen=True, slots=True)
class About:
    """What `store.json` says."""

    version: int
    tokenizer: str | None  # fingerprint; None: made of token ids, of whatever tokenizer
    vocabulary: int  # token ids are below; this very number is the separator
    tokens: int  # without separators
    documents: int
    content: str  # digest of the tokens: the same text gives the same
    data: str  # the folder that holds them
    files: dict[str, list[int]]  # name -> bytes, time of the last change in nanoseconds, CRC-32


@dataclass(frozen=True, slots=True)
class Hits:
    """Where a text's end occurs: entries `low` … `high` - 1 of the order; none where they are equal."""

    length: int  # tokens that match
    low: int
    high: int

    def __len__(self) -> int:
        return self.high - self.low


class Datastore:
    """A store that is open for reading."""

    def __init__(self, folder: Path, about: About, arrays: dict[str, NDArray[Any]]) -> None:
        self.folder = folder
        self.about = about
        self.arrays = arrays
        self._tokens = arrays["tokens"].data  # slices of it cost a tenth of an array's
        self._order = arrays["order"].data
        self._heads = arrays["heads"].data
        self._largest = int(np.flatnonzero(np.diff(arrays["heads"]))[-1])  # token id

    @classmethod
    def open(cls, path: str | Path) -> Datastore:
        """Open a store. Raises InvalidRequest where there is none, or it is damaged or of another version.

        What is read through for that: `store.json`, files of up to 16 MiB, and larger ones that were touched since the
        build, or copied without their times: .2 s for 100 MB.
        """
        folder = Path(path).expanduser()
        file = folder / "store.json"
        if not file.exists():
            raise InvalidRequest(f"there is no datastore in {folder}", hint=HINT)
        said = ""
        while True:
            try:
                before, said = said, file.read_text(encoding="utf-8")
                about = _read_about(said, folder)
                _check_files(folder / about.data, about.files)
                arrays = {name: np.load(folder / about.data / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
                break
            except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError) as error:
                if isinstance(error, FileNotFoundError) and said != before:
                    continue  # it may have been replaced while it was opened
                raise _damaged(folder, error) from error
        lengths = {name: len(array) for name, array in arrays.items()}
        if (
            lengths["tokens"] != about.tokens + about.documents
            or lengths["order"] != about.tokens
            or lengths["heads"] != about.vocabulary + 1
            or arrays["heads"][-1] != about.tokens
        ):
            raise _damaged(folder, lengths)
        return cls(folder, about, arrays)

    def check(self, tokenizer: str | None, vocabulary: int) -> None:
        """Raise Unsupported unless its token ids are those of a target with this tokenizer and vocabulary."""
        mine = self.about.tokenizer
        if mine is not None and tokenizer is not None and mine != tokenizer:
            raise Unsupported(
                f"the datastore in {self.folder} was built with another tokenizer than the target's",
                hint="build it again with --model naming the target",
            )
        if self._largest >= vocabulary:
            raise Unsupported(
                f"the datastore in {self.folder} holds token {self._largest}, the target has {vocabulary}",
                hint="build it again with --model naming the target",
            )

    # -- searching ----------------------------------------------------------------------------------

    def find(self, pattern: Sequence[int]) -> Hits:
        """All occurrences of 1 … `REACH` tokens. A pattern never reaches over the end of a document."""
        size, wanted = len(pattern), list(pattern)
        assert 1 <= size <= REACH
        if not 0 <= min(wanted) <= max(wanted) < self.about.vocabulary:  # the separator is no token
            return Hits(size, 0, 0)
        low, high = self._heads[wanted[0]], self._heads[wanted[0] + 1]
        if size > 1 and low < high:
            tokens = self._tokens

            def head(start: int) -> list[int]:
                return tokens[start : start + size].tolist()

            low = bisect_left(self._order, wanted, low, high, key=head)
            high = bisect_right(self._order, wanted, low, high, key=head)
        return Hits(size, low, high)

    def longest(self, tokens: Sequence[int], longest: int, shortest: int) -> Hits:
        """Occurrences of the longest end of `tokens`, `longest` … `shortest` long, that occurs at all.

        What a text's end holds, its shorter ends hold as well: so the length is found by doubling and halving.
        """
        longest = min(longest, len(tokens))
        found, size = Hits(0, 0, 0), shortest
        beyond = longest + 1  # the least length that is known not to occur
        while found.length < size < beyond:
            hits = self.find(tokens[-size:])
            if len(hits):
                found = hits
            else:
                beyond = size
            size = min(2 * found.length, (found.length + beyond) // 2)
        return found

    def continuations(self, hits: Hits, depth: int, most: int) -> NDArray[Any]:
        """What follows the occurrences, [N, depth] sorted, `NO_TOKEN` from the end of a document on.

        Of more than `most`, as many at even distances stand for all. Length and depth together are at most `REACH`.
        """
        assert hits.length + depth <= REACH
        size = min(most, len(hits))
        if size == len(hits):
            starts = self.arrays["order"][hits.low : hits.high]
        else:
            starts = self.arrays["order"][hits.low + np.arange(size) * len(hits) // size]
        starts = np.asarray(starts, dtype=np.int64)
        tokens = self.arrays["tokens"]
        places = starts[:, None] + np.arange(hits.length, hits.length + depth)  # [N, depth]
        rows = np.asarray(tokens[np.minimum(places, len(tokens) - 1)], dtype=np.int64)
        rows[np.logical_or.accumulate(rows == self.about.vocabulary, axis=1)] = NO_TOKEN
        return rows

    def blanks(self) -> frozenset[int]:
        """Tokens that are white space and nothing else; empty where the store was made of token ids."""
        return frozenset(self.arrays["blanks"].tolist())

    def documents(self) -> list[Document]:
        """The documents that the store was made of, their tokens as views.

        Raises InvalidRequest where their list is damaged.
        """
        try:
            text = (self.folder / self.about.data / "documents.json").read_text(encoding="utf-8")
            listed = [(str(each["name"]), str(each["digest"])) for each in json.loads(text)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(self.folder, error) from error
        ends = np.flatnonzero(self.arrays["tokens"] == self.about.vocabulary)
        starts = np.concatenate([[0], ends[:-1] + 1])
        if len(listed) != len(ends):
            raise _damaged(self.folder, f"{len(listed)} documents are named, there are {len(ends)}")
        return [
            Document(name, self.arrays["tokens"][start:end], digest)
            for (name, digest), start, end in zip(listed, starts, ends, strict=True)
        ]


def _damaged(folder: Path, why: object) -> InvalidRequest:
    return InvalidRequest(f"the datastore in {folder} is damaged: {why}", hint="build it again")


def _read_about(text: str, folder: Path) -> About:
    """What `store.json` says. Raises InvalidRequest for another format, ValueError and its kin where it is damaged."""
    said = json.loads(text)
    if said["version"] != VERSION:
        raise InvalidRequest(
            f"the datastore in {folder} has format {said['version']}, this version reads {VERSION}",
            hint="build it again",
        )
    about = About(**said)
    counts = (about.vocabulary, about.tokens, about.documents)
    stamps = [about.files[name] for name in FILES]
    if (
        not all(type(count) is int and count > 0 for count in counts)
        or not isinstance(about.tokenizer, str | None)
        or not isinstance(about.content, str)
        or not DATA.fullmatch(about.data)
        or any(len(stamp) != 3 or any(type(each) is not int for each in stamp) for stamp in stamps)
    ):
        raise ValueError("store.json says what no build writes")
    return about


def _check_files(data: Path, files: dict[str, list[int]]) -> None:
    """Raise ValueError unless the files are those of the build."""
    for name in FILES:
        size, changed, checksum = files[name]
        now = (data / name).stat()
        if now.st_size != size:
            raise ValueError(f"{name} has {now.st_size} bytes, not {size}")
        if (size <= SMALL or now.st_mtime_ns != changed) and _checksum(data / name) != checksum:
            raise ValueError(f"{name} has changed since the build")


def _checksum(file: Path) -> int:
    found = 0
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            found = zlib.crc32(piece, found)
    return found


def check_search(part: str, *, longest: int, shortest: int, depth: int, hits: int, nodes: int) -> None:
    """Raise InvalidRequest unless these settings of a part are in range: `Datastore.longest`, then `continuations`."""
    if not 1 <= shortest <= longest:
        raise InvalidRequest(f"{part} matches {shortest} to {longest} tokens", hint="1 <= shortest <= longest")
    if depth < 1 or longest + depth > REACH:
        raise InvalidRequest(
            f"{part} matches {longest} tokens and goes {depth} further",
            hint=f"depth >= 1 and longest + depth <= {REACH}",
        )
    if hits < 1 or nodes < 1:
        raise InvalidRequest(f"{part} counts {hits} hits for {nodes} nodes", hint="hits >= 1 and nodes >= 1")


def opened(path: str, context: Context) -> Datastore:
    """The store, checked against the target; opened once for as long as nobody rebuilds it."""
    file = Path(path).expanduser() / "store.json"
    try:
        built = file.stat().st_mtime_ns
    except OSError:
        raise InvalidRequest(f"there is no datastore in {path}", hint=HINT) from None
    store = context.remembered(Datastore, str(file.resolve()), lambda: Datastore.open(path), version=built)
    store.check(context.tokenizer(), context.vocabulary)
    return store


# -- building -----------------------------------------------------------------------------------------


def build(
    documents: Iterable[Document],
    out: str | Path,
    *,
    tokenizer: str | None = None,
    vocabulary: int | None = None,
    blanks: Iterable[int] = (),
) -> Datastore:
    """Write a store of these documents; one that is there already is replaced.

    `tokenizer` is the fingerprint of the tokenizer that made the ids, `vocabulary` a number above all ids (None: found
    from them), `blanks` the tokens that are white space only. Memory: about 60 bytes a token.
    Raises InvalidRequest where there is no text, an id is out of range, or `out` is something else than a store.
    """
    out = place_for(out)
    documents = [document for document in documents if len(document.tokens)]
    if not documents:
        raise InvalidRequest("there is no text to build a datastore from", hint="name a folder of text files")
    least = min(int(np.min(document.tokens)) for document in documents)
    most = max(int(np.max(document.tokens)) for document in documents)
    vocabulary = most + 1 if vocabulary is None else vocabulary
    if least < 0 or most >= vocabulary:
        raise InvalidRequest(
            f"token {least if least < 0 else most} is outside of the vocabulary",
            hint=f"ids run from 0 to {vocabulary - 1}",
        )
    kind = np.uint16 if vocabulary < 1 << 16 else np.uint32
    pieces: list[NDArray[Any]] = []
    for document in documents:
        pieces += [np.asarray(document.tokens, dtype=kind), np.array([vocabulary], dtype=kind)]
    tokens = np.concatenate(pieces)
    order = sort_suffixes(tokens, vocabulary)
    arrays = {
        "tokens": tokens,
        "order": order.astype(np.uint32 if len(tokens) < 1 << 32 else np.int64),
        "heads": np.concatenate([[0], np.cumsum(np.bincount(tokens, minlength=vocabulary)[:vocabulary])]),
        "blanks": np.array(sorted(set(blanks)), dtype=np.int64),
    }
    digest = hashlib.sha256(tokens.tobytes()).hexdigest()[:32]
    facts = {"tokenizer": tokenizer, "vocabulary": vocabulary, "tokens": len(order), "documents": len(documents)}
    _write(out, {"version": VERSION, **facts, "content": digest}, arrays, documents)
    return Datastore.open(out)


def place_for(out: str | Path) -> Path:
    """Where a store may be written. Raises InvalidRequest where something else is."""
    out = Path(out).expanduser()
    if out.exists() and not (out / "store.json").exists():
        begun = out.is_dir() and all(DATA.fullmatch(each.name) or UNFINISHED in each.name for each in out.iterdir())
        if not begun:
            raise InvalidRequest(f"{out} exists and is no datastore", hint="name another place")
    return out


def sort_suffixes(tokens: NDArray[Any], separator: int) -> NDArray[Any]:
    """Where suffixes begin, sorted by their first `REACH` tokens and then by place; those of separators left out.

    By doubling: the order by 2n tokens comes from the ranks by n tokens, of a place and of the one n further on.
    """
    size = len(tokens)
    ranks = tokens.astype(np.int64)
    order = np.argsort(ranks, kind="stable")
    reach = 1
    while reach < REACH:
        behind = np.zeros(size, dtype=np.int64)  # 0: beyond the end
        behind[: max(0, size - reach)] = ranks[reach:] + 1
        keys = ranks * (max(size, separator) + 2) + behind
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        fresh = np.concatenate([[False], ordered[1:] != ordered[:-1]])
        ranks = np.empty(size, dtype=np.int64)
        ranks[order] = np.cumsum(fresh)
        reach *= 2
        if fresh[1:].all():
            break
    return order[: size - int(np.count_nonzero(tokens == separator))]


def _write(out: Path, facts: dict[str, Any], arrays: dict[str, NDArray[Any]], documents: Sequence[Document]) -> None:
    """Write another data folder, have `store.json` name it, and drop those that it no longer names."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        with unfinished(out, folder=True) as fresh:
            for name, array in arrays.items():
                np.save(fresh / f"{name}.npy", array)
            listed = [{"name": document.name, "digest": document.digest} for document in documents]
            write_text(fresh / "documents.json", json.dumps(listed, ensure_ascii=False))
            files: dict[str, list[int]] = {}
            for name in FILES:
                sync(fresh / name)
                now = (fresh / name).stat()
                files[name] = [now.st_size, now.st_mtime_ns, _checksum(fresh / name)]
            data = fresh.rename(out / f"data-{os.urandom(4).hex()}")  # its lock goes with it
            try:
                about = About(**facts, data=data.name, files=files)
                write_text(out / "store.json", json.dumps(asdict(about), indent=1) + "\n")
            except BaseException:
                remove(data)
                raise
        _drop_unnamed(out)
    finally:
        with suppress(OSError):
            out.rmdir()  # where it is empty, as nothing came of it


def _drop_unnamed(out: Path) -> None:
    """Remove the files of earlier builds, and of killed ones; nothing that a build would not have written."""
    old = [out] + [each for each in out.iterdir() if DATA.fullmatch(each.name)]
    for folder in old:
        with locked(folder, wait=False) as mine:  # else another build is at work there
            named = json.loads((out / "store.json").read_text(encoding="utf-8"))["data"]
            if mine and folder.name != named:
                for name in FILES:
                    remove(folder / name)
                with suppress(OSError):
                    folder.rmdir()


@dataclass(slots=True)
class Gathered:
    """Texts read from a folder."""

    documents: list[Document] = field(default_factory=list)
    unchanged: int = 0  # taken from the store that was there
    skipped: int = 0  # files that are no UTF-8 text


def gather(
    folder: str | Path,
    encode: Callable[[str], Sequence[int]],
    *,
    match: Sequence[str] = (),
    exclude: Sequence[str] = (),
    form: str = "text",
    previous: Datastore | None = None,
    each: Callable[[Iterable[Path]], Iterable[Path]] = iter,
) -> Gathered:
    """Tokenise the text files below a folder, in the order of their names. Hidden ones are left out.

    `match` and `exclude` are patterns such as `*.py`, held against the path below the folder and the name; no `match`
    takes all. A document of `previous` whose file has not changed, read in the same `form`, is not tokenised again.
    `each` wraps the walk over the files, for a progress bar.
    Raises InvalidRequest where there is no such folder, or `encode` raises ValueError.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InvalidRequest(f"there is no folder {root}", hint="name a folder of text files")
    known = {(document.name, document.digest): document for document in previous.documents()} if previous else {}
    gathered = Gathered()
    files = [
        file for file in sorted(root.rglob("*")) if file.is_file() and _wanted(file.relative_to(root), match, exclude)
    ]
    for file in each(files):
        content = file.read_bytes()
        digest = hashlib.sha256(form.encode() + b"\0" + content).hexdigest()[:32]
        name = file.relative_to(root).as_posix()
        if (name, digest) in known:
            gathered.documents.append(known[name, digest])
            gathered.unchanged += 1
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            gathered.skipped += 1
            continue
        try:
            tokens = np.asarray(encode(text), dtype=np.int64)
        except ValueError as error:
            raise InvalidRequest(f"{file} cannot be read: {error}", hint="does it hold token ids?") from error
        gathered.documents.append(Document(name, tokens, digest))
    return gathered


def _wanted(path: Path, match: Sequence[str], exclude: Sequence[str]) -> bool:
    def fits(patterns: Sequence[str]) -> bool:
        return any(fnmatch(path.as_posix(), pattern) or fnmatch(path.name, pattern) for pattern in patterns)

    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and (not match or fits(match)) and not fits(exclude)
