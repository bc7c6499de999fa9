"""Python in which only what an object has stands behind its dot, as far as the code tells what the object is."""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

from ..entry import Entry, Guarantee
from .given import text_of
from .monitor import Monitor

ENTRY = Entry(
    name="monitor-guided",
    number=20,
    family="constraint",
    source="arXiv 2306.10763 (monitors4codegen)",
    parts="plain+members",
    guarantee=Guarantee.DEFINED,
    summary="static analysis of the code so far says which names may stand behind a dot",
)

VALUES = ("str", "int", "float", "bool", "bytes", "list", "dict", "set", "tuple")  # whose members Python itself knows
DISPLAYS = {ast.List: "list", ast.ListComp: "list", ast.Dict: "dict", ast.DictComp: "dict", ast.Set: "set"}
DISPLAYS |= {ast.SetComp: "set", ast.Tuple: "tuple", ast.JoinedStr: "str"}
UNKNOWN = ""  # the kind of what the code does not tell
MOST_CUT = 40  # lines of a statement that is still open
LEXED = re.compile(
    r"#[^\n]*|(\"\"\"|''')(?:\\.|(?!\1).)*(?:\1)?|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?|[^#\"']+", re.S
)
CHAIN = re.compile(r"(?<![\w.)\]}])((?:[^\W\d]\w*\.)+)$")
BINDS = re.compile(r"\b(lambda|for|as|import)\b|:=")


@dataclass(frozen=True, slots=True)
class PythonMembers(Monitor):
    """Behind `name.` only members of it, where the code before says what the name is: a class of the code, or a value.

    Annotations and assignments say so: `x: Owl`, `x = Owl(…)`, `x = []`, `def f(x: str)`, and of fields `self.x = …`.
    Where they do not, where two of them differ, and while a class is still being written, anything may follow. Names
    that begin with two underscores are left out.
    """

    source: str = ""  # Python that stands before the answer, such as the prompt: the text, or its file

    name: ClassVar[str] = "members"

    def before(self) -> str:
        return text_of(self.source, self.name) if self.source else ""

    def names(self, text: str) -> Collection[str] | None:
        return members(text)


def members(code: str) -> set[str] | None:
    """The names that may follow code which ends with a dot; None where it does not say what stands before the dot."""
    *_, last = LEXED.finditer(code)
    chain = CHAIN.search(last[0])
    if chain is None or last[0][0] in "#\"'" or last[0][: chain.start()].rstrip().endswith("."):
        return None
    first, *others = chain[1].split(".")[:-1]
    known, rest = known_before(code[: len(code) - len(chain[1])])
    if BINDS.search(rest):
        return None
    kind = known.names.get(first, UNKNOWN)
    for other in others:
        kind = known.members(kind).get(other, UNKNOWN)
    return {name for name in known.members(kind) if not name.startswith("__")} or None


@dataclass(slots=True)
class Known:
    """What code tells at its end."""

    classes: dict[str, ast.ClassDef] = field(default_factory=dict)  # that are written to their end
    names: dict[str, str] = field(default_factory=dict)  # the kinds of variables

    def members(self, kind: str, seen: tuple[str, ...] = ()) -> dict[str, str]:
        """The members of a kind with their own kinds; none where they are not all known."""
        if kind in VALUES:
            return dict.fromkeys(dir(getattr(builtins, kind)), UNKNOWN)
        if kind not in self.classes or kind in seen:
            return {}
        made = self.classes[kind]
        found = _agreed(self._fields(made))
        for base in made.bases:
            more = self.members(_annotated(base), (*seen, kind))
            if not more and _annotated(base) != "object":
                return {}
            found = more | found
        return {} if made.keywords or {"__getattr__", "__getattribute__"} & found.keys() else found

    def kind(self, node: ast.expr | None) -> str:
        """What an expression is."""
        match node:
            case ast.Constant(value=value):
                return type(value).__name__
            case ast.Call(func=ast.Name(id=name)) if name in self.classes or (
                name in VALUES and name not in self.names
            ):
                return name
            case ast.Name(id=name):
                return self.names.get(name, UNKNOWN)
            case ast.Attribute(value=value, attr=name):
                return self.members(self.kind(value)).get(name, UNKNOWN)
        return DISPLAYS.get(type(node), UNKNOWN)

    def bind(self, body: list[ast.stmt], bound: list[tuple[str, str]]) -> None:
        """Take in what the statements of one scope bind, beside what is bound there already."""
        for node in _within(body):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    bound.append((name, self.kind(value)))
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                    bound.append((name, _annotated(annotation)))
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    bound.append((name, UNKNOWN))
                case (
                    ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.alias(asname=str(name)) | ast.alias(name=name)
                ):
                    bound.append((name, UNKNOWN))
            self.names |= _agreed(bound)

    def _fields(self, made: ast.ClassDef) -> list[tuple[str, str]]:
        """What the body of a class binds, and its methods on their first parameter, with the kinds."""
        found: list[tuple[str, str]] = []
        Known(self.classes).bind(made.body, found)
        for method in (each for each in made.body if isinstance(each, ast.FunctionDef)):
            inside, bound = Known(self.classes, dict(self.names)), _parameters(method)
            inside.names |= _agreed(bound)
            inside.bind(method.body, bound)
            for node in _within(method.body):
                match node:
                    case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=owner), attr=name)], value=value):
                        found += [(name, inside.kind(value))] * (owner == bound[0][0])
                    case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id=owner), attr=name), annotation=given):
                        found += [(name, _annotated(given))] * (owner == bound[0][0])
                    case ast.Attribute(value=ast.Name(id=owner), attr=name, ctx=ast.Store()):
                        found += [(name, UNKNOWN)] * (owner == bound[0][0])
        return found


def known_before(code: str) -> tuple[Known, str]:
    """What code tells that breaks off somewhere, and what of it is the statement in which it does."""
    lines = code.split("\n")
    for at in range(len(lines) - 1, max(len(lines) - MOST_CUT, 0) - 1, -1):
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        known = _analysed("\n".join(lines[:at]), indent)
        if known is not None:
            return known, "\n".join(lines[at:])
    return Known(), code


@lru_cache(maxsize=256)
def _analysed(code: str, indent: str) -> Known | None:
    """What whole lines tell to a statement behind them; None where none may stand there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(f"{code}\n{indent}pass\n")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    around = [node for node in _last(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    made = [node for node in tree.body if isinstance(node, ast.ClassDef) and node not in around]
    known = Known({node.name: node for node in made})
    known.bind(tree.body, [])
    for node in around:
        bound = [] if isinstance(node, ast.ClassDef) else _parameters(node)
        known.names |= _agreed(bound)
        known.bind(node.body, bound)
    return known


def _last(node: ast.AST) -> Iterator[ast.AST]:
    """The blocks that the last statement of a tree stands in, from the outermost on."""
    while True:
        yield node
        blocks = [getattr(node, block, []) for block in ("finalbody", "orelse", "handlers", "cases", "body")]
        inner = next((block for block in blocks if isinstance(block, list) and block), None)
        if inner is None:
            return
        node = inner[-1]


def _within(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes of one scope in their order, without what is assigned to where it is one name or field."""
    for node in nodes:
        yield node
        match node:
            case ast.Assign(targets=[ast.Name() | ast.Attribute()], value=value):
                yield from _within([value])
            case ast.AnnAssign(value=given):
                yield from _within([given] if given else [])
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                pass
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                pass
            case _:
                yield from _within(ast.iter_child_nodes(node))


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[str, str]]:
    given = function.args
    plain = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    found = [(each.arg, _annotated(each.annotation)) for each in plain]
    return [*found, *((each.arg, UNKNOWN) for each in (given.vararg, given.kwarg) if each)] or [("", UNKNOWN)]


def _annotated(annotation: ast.expr | None) -> str:
    """The kind that an annotation names: `Owl`, `"Owl"`, `list[Owl]`."""
    match annotation:
        case ast.Name(id=name) | ast.Constant(value=str(name)) | ast.Subscript(value=ast.Name(id=name)):
            return name
    return UNKNOWN


def _agreed(bound: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What is bound to each name, where that is always the same."""
    found: dict[str, str] = {}
    for name, kind in bound:
        found[name] = kind if found.get(name, kind) == kind else UNKNOWN
    return found
