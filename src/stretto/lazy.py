"""Lets `import torch` cost nothing until something of it is read, for commands that compute nothing.

Only the command line asks for it; in a program of one's own these modules are imported as ever. Once read, such a
module is a plain module again, the same object, so that nothing is slower afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any

HEAVY = ("torch", "numpy")


@contextmanager
def postponed(names: Sequence[str] = HEAVY) -> Iterator[None]:
    """Modules of these names that are imported inside are run when an attribute of theirs is first read, also later."""
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds modules as ever, and has them run later."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in self._names else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)
        return spec


class _Later(Loader):
    """Stands in for the loader of a module until something is read from it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        vars(module).pop("__path__", None)  # so that importing a part of a package reads from it, too
        module.__class__ = _Unread


class _Unread(ModuleType):
    """A module that has not been run. What it lacks, all but its name and spec, is there once it has."""

    def __getattr__(self, name: str) -> Any:
        with _LOCK:  # other threads wait until it is whole
            if isinstance(self, _Running):  # by this thread, so it really is not there yet
                raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
            if isinstance(self, _Unread):
                _run(self)
        return getattr(self, name)


class _Running(_Unread):
    """The same while it runs."""


_LOCK = RLock()


def _run(module: ModuleType) -> None:
    """Run it; it is as unread as before where that fails."""
    spec = module.__spec__
    assert spec is not None and spec.loader is not None
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    module.__class__ = _Running
    try:
        spec.loader.exec_module(module)
    except BaseException:
        module.__class__ = _Unread
        raise
    module.__class__ = ModuleType
