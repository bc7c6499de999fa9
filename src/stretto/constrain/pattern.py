"""Regular expressions of terminals, stepped character by character: what may follow is known at each point.

Characters, `.`, classes such as [a-z] and [^"\\\\], \\d \\s \\w and \\D \\S \\W (of ASCII), \\n \\t \\r \\f \\v,
\\xHH \\uHHHH \\UHHHHHHHH, escaped marks, groups, |, *, +, ? and {m,n} mean what they mean in Python's `re`, in a match
of the whole. All else that `re` or its kin know is refused by its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ..errors import InvalidRequest

Places = frozenset[int]
Ranges = list[tuple[str, str]]
CLASSES: dict[str, Ranges] = {
    "d": [("0", "9")],
    "s": [("\t", "\r"), (" ", " ")],
    "w": [("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")],
}
CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
CODES = {"x": 2, "u": 4, "U": 8}  # hexadecimal digits
LAST = "\U0010ffff"
DEEPEST = 50  # groups within groups
MOST = 20_000  # places of an automaton
WHOLE = "leave it out: a pattern always matches the whole of its terminal"
REFUSED = {  # escapes of other dialects
    **dict.fromkeys("bB", ("a word boundary", "let the grammar say what stands beside the terminal")),
    **dict.fromkeys("AZzG", ("an anchor", WHOLE)),
    **dict.fromkeys("pP", ("a Unicode property", "write the characters as ranges, such as [a-zà-ÿ]")),
    **dict.fromkeys(
        "123456789k", ("a back reference", "no automaton remembers a text: write out what may stand there")
    ),
    **dict.fromkeys("RXhHKNQE", ("an escape of another dialect", "write the characters as a class")),
}
GROUPS = {  # what may follow "(?"
    "=": "a look-ahead",
    "!": "a look-ahead",
    "<=": "a look-behind",
    "<!": "a look-behind",
    "P<": "a named group",
    "<": "a named group",
    "P=": "a back reference",
    ">": "an atomic group",
    "(": "a condition",
    "#": "a comment",
    "|": "a branch reset",
}


@dataclass(frozen=True, slots=True)
class Chars:
    """A set of characters as ranges; `out` means all others."""

    ranges: tuple[tuple[str, str], ...]
    out: bool = False

    def has(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) != self.out


@dataclass(slots=True, eq=False)
class Pattern:
    """A Thompson automaton; a set of its places is where a match stands. It is empty once none is possible."""

    source: str
    silent: list[list[int]] = field(default_factory=list)  # place -> places
    steps: list[tuple[Chars, int] | None] = field(default_factory=list)  # place -> what it reads, and where that leads
    start: Places = frozenset()
    end: int = -1
    empty: bool = False  # whether it may match nothing at all; no terminal may
    _at: int = 0
    _depth: int = 0
    _known: dict[tuple[Places, str], Places] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first, self.end = self._either()
        if self._at < len(self.source):
            raise self._wrong()
        self.start = self._near({first})
        if self.end in self.start and not self.empty:
            raise InvalidRequest(f"the pattern {self.source!r} matches nothing at all", hint="use + instead of *")

    def step(self, places: Places, char: str) -> Places:
        """Where a match stands after one more character."""
        if (places, char) not in self._known:
            reads = (self.steps[place] for place in places)
            self._known[places, char] = self._near({step[1] for step in reads if step and step[0].has(char)})
        return self._known[places, char]

    def done(self, places: Places) -> bool:
        """Whether what was read is a match."""
        return self.end in places

    def _near(self, places: set[int]) -> Places:
        found, left = set(places), list(places)
        while left:
            for other in self.silent[left.pop()]:
                if other not in found:
                    found.add(other)
                    left.append(other)
        return frozenset(found)

    # -- reading the expression: each method gives the first and the last place of its part -----------

    def _wrong(self, what: str = "", hint: str = r"escape with \ ") -> InvalidRequest:
        found = f"has {what}" if what else "cannot be read"
        return InvalidRequest(f"the pattern {self.source!r} {found} at character {self._at + 1}", hint=hint)

    def _place(self) -> int:
        if len(self.steps) > MOST:
            raise self._wrong("too many repetitions", hint="repeat less, or leave the count to the grammar")
        self.silent.append([])
        self.steps.append(None)
        return len(self.silent) - 1

    def _next(self) -> str:
        return self.source[self._at] if self._at < len(self.source) else ""

    def _take(self) -> str:
        if not (char := self._next()):
            raise self._wrong()
        self._at += 1
        return char

    def _either(self) -> tuple[int, int]:
        first, last = self._place(), self._place()
        while True:
            begin, end = self._row()
            self.silent[first].append(begin)
            self.silent[end].append(last)
            if self._next() != "|":
                return first, last
            self._take()

    def _row(self) -> tuple[int, int]:
        first = last = self._place()
        while self._next() not in ("", "|", ")"):
            begin, end = self._repeated()
            self.silent[last].append(begin)
            last = end
        return first, last

    def _repeated(self) -> tuple[int, int]:
        """One part as often as is said behind it, each time with places of its own."""
        start = self._at
        parts = [self._one()]
        count = self._count()
        if count is None:
            return parts[0]
        least, most = count
        behind = self._at
        while len(parts) < (max(least, 1) if most is None else most):
            self._at = start
            parts.append(self._one())
        self._at = behind
        first, last = self._place(), self._place()
        at = first
        for done, (begin, end) in enumerate(parts[:most]):
            self.silent[at].append(begin)
            if done >= least:
                self.silent[at].append(last)
            at = end
        self.silent[at].append(last)
        if most is None:
            self.silent[at].append(parts[-1][0])
        return first, last

    def _count(self) -> tuple[int, int | None] | None:
        """How often at least and at most; None where nothing is said."""
        mark = self._next()
        if mark == "{":
            found = re.compile(r"\{(\d*)(,?)(\d*)\}", re.ASCII).match(self.source, self._at)
            if found is None or not (found[1] or found[3]):
                raise self._wrong("a { that counts nothing", hint=r"{2}, {2,}, {,5} or {2,5}; a brace is \{")
            least, most = int(found[1] or 0), int(found[3]) if found[3] else None if found[2] else int(found[1])
            if most is not None and least > most:
                raise self._wrong(f"the count {found[0]}", hint="the smaller number first")
            self._at = found.end()
        elif mark and mark in "*+?":
            self._take()
            least, most = int(mark == "+"), 1 if mark == "?" else None
        else:
            return None
        if self._next() and self._next() in "*+?{":
            raise self._wrong(
                "a second mark of repetition", hint="lazy and possessive ones are not read: group with ( )"
            )
        return least, most

    def _one(self) -> tuple[int, int]:
        if self._next() in ("^", "$"):
            raise self._wrong(f"the anchor {self._next()}", hint=rf"{WHOLE}; the character is \{self._next()}")
        char = self._take()
        if char == "(":
            return self._group()
        if char in "*+?){":
            self._at -= 1
            raise self._wrong(f"a {char} with nothing before it")
        if char == "[":
            chars = self._class()
        elif char == ".":
            chars = Chars((("\n", "\n"),), out=True)
        else:
            chars = Chars(tuple(self._escaped(char)))
        first, last = self._place(), self._place()
        self.steps[first] = (chars, last)
        return first, last

    def _group(self) -> tuple[int, int]:
        if self._next() == "?":
            self._at += 1
            if self._next() != ":":
                kinds = (name for mark, name in GROUPS.items() if self.source.startswith(mark, self._at))
                raise self._wrong(next(kinds, "flags"), hint="groups are ( ) or (?: )")
            self._at += 1
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._wrong(
                f"groups more than {DEEPEST} deep", hint="leave out brackets, or use rules of the grammar"
            )
        inner = self._either()
        self._depth -= 1
        if self._take() != ")":
            raise self._wrong()
        return inner

    def _escaped(self, char: str) -> Ranges:
        if char != "\\":
            return [(char, char)]
        char = self._take()
        if char in CLASSES:
            return CLASSES[char]
        if char.lower() in CLASSES:
            return _others(CLASSES[char.lower()])
        if char in CODES:
            char = self._code(CODES[char])
        elif char.isascii() and char.isalnum() and char not in CONTROLS:
            self._at -= 2
            what, hint = REFUSED.get(char, ("an escape", "a letter that stands for itself is not escaped"))
            raise self._wrong(f"{what}, \\{char},", hint=hint)
        literal = CONTROLS.get(char, char)
        return [(literal, literal)]

    def _code(self, digits: int) -> str:
        """The character of a hexadecimal number."""
        found = self.source[self._at : self._at + digits]
        if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", found) or int(found, 16) > ord(LAST):
            raise self._wrong("no code of a character", hint=r"\x41, \u0041 or \U00000041")
        self._at += digits
        return chr(int(found, 16))

    def _class(self) -> Chars:
        out = self._next() == "^"
        if out:
            self._take()
        ranges: Ranges = []
        begun = self._at
        while (char := self._take()) != "]" or self._at == begun + 1:  # the first ] is a character
            if char == "[" and self._next() == ":":
                raise self._wrong("a class of POSIX", hint=r"write the characters, such as [a-z]; a bracket is \[")
            found = self._escaped(char)
            if self._next() == "-" and self.source[self._at + 1 : self._at + 2] not in ("", "]"):
                self._take()
                last = self._escaped(self._take())
                if len(found) + len(last) > 2 or found[0][0] > last[0][1] or found[0][0] != found[0][1]:
                    raise self._wrong("a range that is none", hint=r"the smaller character first; a dash is \-")
                found = [(found[0][0], last[0][1])]
            ranges += found
        return Chars(tuple(ranges), out)


def escaped(text: str) -> str:
    """The pattern that matches a text and nothing else."""
    return "".join(char if char.isalnum() else "\\" + char for char in text)


def _others(ranges: Ranges) -> Ranges:
    """All characters but those of some ascending ranges."""
    borders = ["\0", *(each for low, high in ranges for each in (chr(ord(low) - 1), chr(ord(high) + 1))), LAST]
    return list(zip(borders[::2], borders[1::2], strict=True))
