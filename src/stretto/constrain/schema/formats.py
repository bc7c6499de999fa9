"""Formats that the standard defines: a pattern of the whole text for each, for masks and judge alike.

What is not regular is left out where it is rare: a leap second at an offset that is no quarter of an hour, names of
hosts in the encoding of other scripts. Names that the standard does not define say nothing, as it asks; those that look
like one that it does are refused.
"""

from __future__ import annotations

import re

from jsonschema import FormatChecker  # type: ignore[import-untyped]

from ...errors import InvalidRequest, closest

LONGEST = {"hostname": 253}  # characters
OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = rf"{OCTET}(\.{OCTET}){{3}}"


def _ipv6() -> str:
    """Eight groups of hexadecimal digits, the last two as an address of version 4, one run of zeros left out."""
    group = "[0-9A-Fa-f]{1,4}"
    last = f"({group}:{group}|{IPV4})"
    found = [f"({group}:){{6}}{last}"]
    for left in range(8):  # groups before the gap
        before = "::" if not left else f"{group}(:{group}){{{left - 1}}}::"
        room = 7 - left  # groups that may follow, at most: the gap stands for one at least
        ways = [f"({group}(:{group}){{0,{room - 1}}})?"] if room else [""]
        if room >= 2:
            ways.append(f"({group}:){{0,{room - 2}}}{IPV4}")
        found += [before + way for way in ways]
    return "(" + "|".join(found) + ")"


def _time() -> str:
    """A time of the day; a leap second is the last one of a day of Greenwich."""
    offset = "([01][0-9]|2[0-3]):[0-5][0-9]"
    fraction = r"(\.[0-9]+)?"
    usual = f"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]{fraction}([zZ]|[+-]{offset})"
    found = [usual, f"23:59:60{fraction}[zZ]"]
    for minutes in range(0, 24 * 60, 15):
        for sign, away in (("[+]", minutes), ("-", -minutes)):
            hour, minute = divmod((23 * 60 + 59 + away) % (24 * 60), 60)
            found.append(f"{hour:02}:{minute:02}:60{fraction}{sign}{minutes // 60:02}:{minutes % 60:02}")
    return "(" + "|".join(found) + ")"


def _duration() -> str:
    days = "([0-9]+D|[0-9]+M([0-9]+D)?|[0-9]+Y([0-9]+M([0-9]+D)?)?)"
    hours = "T([0-9]+S|[0-9]+M([0-9]+S)?|[0-9]+H([0-9]+M([0-9]+S)?)?)"
    return f"P([0-9]+W|{days}({hours})?|{hours})"


def _address(letters: str, relative: bool) -> str:
    """Addresses as RFC 3986 spells them, and as RFC 3987 with its letters."""
    mark = rf"[{letters}0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{{2}}"
    segment = f"({mark}|[:@])"
    literal = rf"\[({IPV6}|[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\]"
    host = f"({literal}|({mark})*)"
    rooted = f"//((({mark}|:)*@)?{host}(:[0-9]*)?)(/{segment}*)*|/({segment}+(/{segment}*)*)?"
    tail = rf"(\?({segment}|[/?])*)?(#({segment}|[/?])*)?"
    whole = rf"[A-Za-z][A-Za-z0-9+.\-]*:({rooted}|{segment}+(/{segment}*)*)?{tail}"
    return f"({whole}|({rooted}|({mark}|@)+(/{segment}*)*)?{tail})" if relative else whole


DATE = (  # with leap years
    "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    "|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
)
TIME = _time()
IPV6 = _ipv6()
SIGN, INNER = "[A-Za-z0-9]", "[A-Za-z0-9-]"  # of a label of a host's name; third and fourth are not both -
LABEL = f"{SIGN}({INNER}{{0,2}}{SIGN}|{INNER}({SIGN}{INNER}|-{SIGN}){INNER}{{0,58}}{SIGN})?"
HOST = rf"{LABEL}(\.{LABEL})*"
ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+"
QUOTED = r"\x22([\x20-\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*\x22"
POINTER = r"(/([^/~]|~[01])*)*"
LETTERS = r"A-Za-z\u00a0-\ud7ff\ue000-\ufdcf\ufdf0-\uffef\U00010000-\U000dffff"
LITERAL = r"([^\x00-\x20\x22%<>\\\^`{|}\x7f-\x9f]|%[0-9A-Fa-f]{2})"
VARIABLE = r"([A-Za-z0-9_]|%[0-9A-Fa-f]{2})(\.?([A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*(:[1-9][0-9]{0,3}|\*)?"
WRITTEN = {
    "date": DATE,
    "time": TIME,
    "date-time": f"{DATE}[tT]{TIME}",
    "duration": _duration(),
    "ipv4": IPV4,
    "ipv6": IPV6,
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "hostname": HOST,
    "email": rf"({ATOM}(\.{ATOM})*|{QUOTED})@({HOST}|\[({IPV4}|IPv6:{IPV6})\])",
    "idn-email": r"[^@ \t\r\n]+@[^@ \t\r\n]+",
    "json-pointer": POINTER,
    "relative-json-pointer": rf"(0|[1-9][0-9]*)(#|{POINTER})",
    "uri": _address("A-Za-z", relative=False),
    "uri-reference": _address("A-Za-z", relative=True),
    "iri": _address(LETTERS, relative=False),
    "iri-reference": _address(LETTERS, relative=True),
    "uri-template": rf"({LITERAL}|\{{[+#./;?&=,!@|]?{VARIABLE}(,{VARIABLE})*\}})*",
}
SHORT = {  # a text of each, but of those that may be empty
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "date-time": "2000-01-01T00:00:00Z",
    "duration": "P1D",
    "ipv4": "1.1.1.1",
    "ipv6": "::",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "hostname": "a",
    "email": "a@a",
    "idn-email": "a@a",
    "relative-json-pointer": "0",
    "uri": "a:",
    "iri": "a:",
}
KNOWN = {*WRITTEN, "regex", "idn-hostname"}
DIALS = {"host-name": "hostname", "datetime": "date-time", "url": "uri", "ip-address": "ipv4"}


def longest(name: str) -> dict[str, int]:
    """How long a text of a format may be, as a keyword; nothing where it does not say."""
    return {"maxLength": LONGEST[name]} if name in LONGEST else {}


def require_known(name: str, pointer: str) -> None:
    """Raise InvalidRequest for a format whose name is almost that of one that the standard defines."""
    if name in KNOWN:
        return
    bare = name.lower().replace("_", "-")
    meant = DIALS.get(bare)
    if meant or bare in KNOWN:
        hint = f"did you mean {meant!r}?" if meant else closest(bare, KNOWN)
        raise InvalidRequest(f"{pointer}: there is no format {name!r}", hint=hint)


def _is_of(name: str, text: str) -> bool:
    if name == "regex":
        return _is_pattern(text)
    return len(text) <= LONGEST.get(name, len(text)) and re.fullmatch(WRITTEN[name], text, re.ASCII) is not None


def _is_pattern(text: str) -> bool:
    """Whether a text is a pattern of ECMA 262, as far as Python can tell."""
    if re.search(r"\(\?[^:=!<]|\\[aAzZ]", text):
        return False
    try:
        re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", text))
    except (re.error, RecursionError, OverflowError):
        return False
    return True


CHECKER = FormatChecker(formats=())
for _name in KNOWN - {"idn-hostname"}:
    CHECKER.checks(_name)(lambda value, name=_name: not isinstance(value, str) or _is_of(name, value))
