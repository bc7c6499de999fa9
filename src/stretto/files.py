"""Files that are saved whole: written beside their place and moved there, so that what was there stands until then.

A full disk, an error or a kill half-way leaves the old file as it was. What a killed writer left beside it is removed
by the next one that writes into that folder: who writes holds a lock, so that nobody's work in progress is touched.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InvalidRequest

try:
    import fcntl
except ImportError:  # no locks there: what a killed writer left is never removed
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".stretto-unfinished"  # in the names of what is being written
STREAMS = ("/dev", "/dev/fd", "/proc/self/fd")  # what stands there is written to, and never replaced


def require_writable(path: Path) -> None:
    """Raise InvalidRequest where no file can be written; nothing is written, and a missing file stays missing."""
    if not path.parent.is_dir():
        raise InvalidRequest(f"there is no folder {path.parent}", hint=f"mkdir -p {shlex.quote(str(path.parent))}")
    if path.is_dir():
        raise InvalidRequest(f"{path} is a folder", hint="name a file in it")
    changed = [path.resolve().parent, path] if path.is_file() else [path if path.exists() else path.parent]
    refused = next((each for each in changed if not os.access(each, os.W_OK)), None)
    if refused is not None:
        raise InvalidRequest(f"{refused} may not be written to", hint="name a file in a folder of yours")


def write_text(path: str | Path, text: str) -> None:
    """Save a text in UTF-8. Raises OSError or UnicodeEncodeError, and then nothing has changed."""
    content = text.encode("utf-8")
    with replacing(path) as fresh:
        fresh.write_bytes(content)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A new, empty file of the same ending, to be written to; it takes the place of `path` when the block is left.

    Where the block raises, the old file stays. A link stays a link, and permissions stay what they were.
    """
    given = Path(path)
    if given.parent.as_posix() in STREAMS or (given.exists() and not given.is_file()):
        yield given  # a device or a pipe holds nothing to keep; a folder is refused by whoever writes
        return
    place = Path(os.path.realpath(given))
    with unfinished(place.parent, place.suffix) as fresh:
        yield fresh
        if place.exists():
            fresh.chmod(place.stat().st_mode & 0o7777)
        sync(fresh)
        os.replace(fresh, place)
        sync(place.parent)


@contextmanager
def replacing_files(folder: str | Path) -> Iterator[Path]:
    """A new, empty folder; its files move into `folder`, which is made, when the block is left without an error.

    So each file is the old one or the new one, whole; all are new unless a kill falls between two of the moves.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with unfinished(place, folder=True) as fresh:
        yield fresh
        files = sorted(file for file in fresh.rglob("*") if file.is_file())
        for file in files:
            sync(file)
        for file in files:
            target = place / file.relative_to(fresh)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
        sync(place)


@contextmanager
def unfinished(parent: Path, suffix: str = "", *, folder: bool = False) -> Iterator[Path]:
    """A new file or folder in `parent`, locked while the block runs; removed after it, unless it was moved away.

    What dead writers left in `parent` is removed first.
    """
    with suppress(PermissionError):  # it may be written to, and not listed
        for left in [Path(entry) for entry in os.scandir(parent) if UNFINISHED in entry.name]:
            with locked(left, wait=False) as mine:
                if mine:
                    remove(left)
    while True:
        fresh = parent / f".{os.urandom(4).hex()}{UNFINISHED}{suffix}"
        if folder:
            fresh.mkdir()
        else:
            os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        with locked(fresh):
            if not fresh.exists():  # somebody took it for a dead writer's before it was locked
                continue
            try:
                yield fresh
            finally:
                remove(fresh)
            return


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file or folder while the block runs; False where that cannot be: another has it, it is gone.

    The lock is of what stands there, not of its name, and ends with the process: it can't be left behind.
    """
    handle = None
    try:
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY)
        yield handle is not None and _lock(handle, wait)
    finally:
        if handle is not None:
            os.close(handle)


def _lock(handle: int, wait: bool) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # another has it, or these files know no locks
        return False
    return True


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; silent where that cannot be."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sync(path: Path) -> None:
    """Have the disk hold what was written. Raises OSError where a file could not be; folders need not be able to."""
    folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        if not folder:
            raise
