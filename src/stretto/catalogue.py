"""Collects what the parts declare: the parts by name, and the catalogue's entries.

Nothing is listed here. A part is a class with a `name` in the folder of a family, of steers or of diagnostics; an
entry is the module's `ENTRY` (or `ENTRIES`), standing beside the system's principal part. Parts from elsewhere join
them: those of a file (`plug_in`), of a class at hand (`register`), and of installed packages that name a module under
the entry points `stretto.parts`.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import warnings
from ast import literal_eval
from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from .entry import Entry, Guarantee
from .errors import InvalidRequest, UnknownName, closest

Part = TypeVar("Part", bound=type)

GROUP = "stretto.parts"  # of the entry points under which installed packages name a module with parts

NAME = re.compile(r'^    name: ClassVar\[str\] = "([^"]+)"', re.MULTILINE)
ENTRY = re.compile(r"^ENTR(?:Y|IES) = ((?:Entry)?\(.*?^\))$", re.MULTILINE | re.DOTALL)
TEXT = re.compile(r'^([A-Z_]+) = ("[^"]*")$', re.MULTILINE)
WORDS = {"Entry": Entry, "Guarantee": Guarantee}  # what an entry is written with
HOME = Path(__file__).parent
FAMILIES = tuple(sorted((file.parent.name for file in HOME.glob("*/family.py")), reverse=True))  # folders
FOLDERS = (*FAMILIES, "steer", "constrain", "memory", "pace", "diagnose", "coding")  # parts stand in these or below

PLAIN = Entry(
    name="plain",
    family="speculate",
    source="the reference: one token per forward",
    parts="plain",
    guarantee=Guarantee.EXACT,
    summary="autoregressive decoding with a cache",
)


def parts() -> Mapping[str, Any]:
    """Every part of every method by its name; this package's own are imported when they are looked up."""
    return ChainMap(_added.parts, _installed().parts, cast(MutableMapping[str, Any], OWN))


def entries() -> Mapping[str, Entry]:
    """Every catalogue entry by its name."""
    return ChainMap(_added.entries, _installed().entries, OWN.entries, {PLAIN.name: PLAIN})


def part(name: str) -> Any:
    """The part of that name. Raises UnknownName with the closest one."""
    if name not in parts():
        raise UnknownName(f"no part is named {name!r}", hint=closest(name, parts()))
    return parts()[name]


# -- parts from elsewhere ----------------------------------------------------------------------------


def register(part: Part) -> Part:
    """Take in a part that stands outside of this package; also as a decorator, above `@dataclass`.

    From then on its name works wherever a part is named. Defined anew, as notebooks do, it replaces itself.
    Raises InvalidRequest where it is no part, or bears the name of another.
    """
    _added.take(part)
    return part


def plug_in(file: str | Path) -> None:
    """Take in all parts and entries of a Python file. Running it is trusting it.

    Raises InvalidRequest where it cannot be run, or holds none.
    """
    path = Path(file).expanduser()
    if path.suffix != ".py" or not path.is_file():
        raise InvalidRequest(f"there is no Python file {file}", hint="name a .py file that defines parts")
    spec = importlib.util.spec_from_file_location(f"stretto_plugin_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look there for what annotations name
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it may raise anything
        raise InvalidRequest(f"{file} fails with {type(error).__name__}: {error}", hint="mend the file") from error
    if not _added.take_all(module):
        raise InvalidRequest(
            f"{file} defines no part", hint="a part is a class with a name; see docs/write-a-drafter.md"
        )


class _Others:
    """Parts and entries from outside of the package."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}
        self.entries: dict[str, Entry] = {}

    def take(self, part: Any) -> None:
        """One part. Raises InvalidRequest where it is none, or bears another's name."""
        shown = getattr(part, "__qualname__", repr(part))
        kind = next((base for base in getattr(part, "__mro__", ()) if "kind" in vars(base)), None)
        if kind is None or not isinstance(getattr(part, "name", None), str):
            raise InvalidRequest(
                f"{shown} is no part", hint="derive it from a contract such as Drafter; give it a name"
            )
        if inspect.isabstract(part):
            missing = ", ".join(sorted(part.__abstractmethods__))
            raise InvalidRequest(f"the {part.kind} {part.name!r} lacks {missing}", hint=f"see {kind.__qualname__}")
        if not getattr(getattr(part, "__dataclass_params__", None), "frozen", False):
            raise InvalidRequest(f"{shown} is no frozen dataclass", hint="write @dataclass(frozen=True) above it")
        other = self.parts.get(part.name) or OWN.get(part.name)
        if other is not None and (other.__module__, other.__qualname__) != (part.__module__, part.__qualname__):
            raise InvalidRequest(f"a part named {part.name!r} is there already", hint="give it another name")
        self.parts[part.name] = part

    def take_all(self, module: ModuleType) -> int:
        """All of a module; how many parts that were."""
        found = list(parts_of(module))
        for part in found:
            self.take(part)
        self.entries |= {entry.name: entry for entry in entries_of(module)}
        return len(found)


_added = _Others()


@cache
def _installed() -> _Others:
    """What installed packages bring; one that fails is left out with a warning, and the others work."""
    found = _Others()
    for point in entry_points(group=GROUP):
        try:
            named = point.load()
            found.take(named) if inspect.isclass(named) else found.take_all(named)
        except Exception as error:  # another's package may raise anything
            warnings.warn(f"{point.value} brings no parts: {type(error).__name__}: {error}", stacklevel=2)
    return found


# -- this package's own ------------------------------------------------------------------------------


class Declared(Mapping[str, Any]):
    """The parts in folders of this package by name, as their files declare them.

    There are hundreds of parts, and a command or a method needs few of them. Each file declares in one form, which a
    test holds: `name: ClassVar[str] = "…"` in the class of a part, and `ENTRY = Entry(…)` (or `ENTRIES = (…)`) beside
    it, of plain values and of text that the file names. So the files are read as text, and a part is imported when it
    is looked up.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        """`folders`: of this package, with all that are in them."""
        self._folders = folders
        self._found: dict[str, Any] = {}  # the parts that were looked up

    @cached_property
    def _places(self) -> dict[str, str]:
        """The module of each part."""
        found: dict[str, str] = {}
        for module, text in self._texts():
            for name in NAME.findall(text):
                assert name not in found, f"two parts are named {name!r}"
                found[name] = module
        return found

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """The catalogue's entries by name."""
        found: dict[str, Entry] = {}
        for module, text in self._texts():
            for written in ENTRY.findall(text):
                words = WORDS | {name: literal_eval(value) for name, value in TEXT.findall(text)}
                value = eval(compile(written, module, "eval"), words)  # this package's own text
                for entry in (value,) if isinstance(value, Entry) else value:
                    assert entry.name not in found, f"two entries are named {entry.name!r}"
                    found[entry.name] = entry
        return found

    def _texts(self) -> Iterator[tuple[str, str]]:
        """Module and text of each file."""
        for folder in self._folders:
            for file in sorted((HOME / folder).rglob("[!_]*.py")):
                module = ".".join(file.relative_to(HOME).with_suffix("").parts)
                yield f"{__package__}.{module}", file.read_text(encoding="utf-8")

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            module = import_module(self._places[name])
            self._found[name] = next(part for part in parts_of(module) if part.name == name)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places


def parts_of(module: ModuleType) -> Iterator[Any]:
    """The classes with a name of their own that a module defines."""
    for _, part in inspect.getmembers(module, inspect.isclass):
        if part.__module__ == module.__name__ and isinstance(vars(part).get("name"), str):
            yield part


def entries_of(module: ModuleType) -> list[Entry]:
    """The entries that a module declares."""
    return [module.ENTRY] if hasattr(module, "ENTRY") else list(getattr(module, "ENTRIES", ()))


OWN = Declared(FOLDERS)
