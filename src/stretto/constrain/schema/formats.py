"""Formats that the standard defines: how they are masked, and how a text is judged under them.

Masks hold what a regular expression can: some formats need a judge as well, for leap years and the like. Names that the
standard does not define say nothing, as it asks; those that look like one that it does are refused.
"""

from __future__ import annotations

import datetime
import ipaddress
import re

from jsonschema import FormatChecker  # type: ignore[import-untyped]

from ...errors import InvalidRequest, closest

HOST = r"(?=.{1,253}\Z)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"
CHAR = r"[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}"  # of a path
ICHAR = r"[A-Za-z0-9\-._~!$&'()*+,;=:@\u00a0-\ud7ff\ue000-\ufdcf\ufdf0-\uffef\U00010000-\U0010ffff]|%[0-9A-Fa-f]{2}"
LITERAL = r"([^\x00-\x20\x22%<>\\\^`{|}\x7f-\x9f]|%[0-9A-Fa-f]{2})"
VARIABLE = r"([A-Za-z0-9_]|%[0-9A-Fa-f]{2})(\.?([A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*(:[1-9][0-9]{0,3}|\*)?"


def _address(scheme: str, char: str) -> str:
    """Addresses as RFC 3986 spells them (RFC 3987 with its characters); the host in brackets is judged apart."""
    host = rf"(\[[0-9A-Fa-f:.vV]+\]|({char.replace(':@', '')})*)"
    authority = rf"//(({char.replace('@', '')})*@)?{host}(:[0-9]*)?(/({char})*)*"
    rootless = rf"({char})+(/({char})*)*"
    relative = rf"({char.replace(':@', '@')})+(/({char})*)*"
    path = rf"({authority}|/({rootless})?|{rootless if scheme and '?' not in scheme[-1:] else relative})?"
    return rf"{scheme}{path}(\?({char}|[/?])*)?(#({char}|[/?])*)?"


ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
EMAIL = rf"({ATOM}(\.{ATOM})*|\x22([\x20-\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*\x22)@({HOST}|\[[0-9A-Za-z.:]+\])"
SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:"
POINTER = r"(/([^/~]|~[01])*)*"
PATTERNS = {  # formats that are masked by a pattern of the whole text
    "json-pointer": POINTER,
    "relative-json-pointer": rf"(0|[1-9][0-9]*)(#|{POINTER})",
    "uri-reference": rf"({_address(SCHEME, CHAR)}|{_address('', CHAR)})",
    "iri": _address(SCHEME, ICHAR),
    "iri-reference": rf"({_address(SCHEME, ICHAR)}|{_address('', ICHAR)})",
    "uri-template": rf"({LITERAL}|\{{[+#./;?&=,!@|]?{VARIABLE}(,{VARIABLE})*\}})*",
    "idn-email": r"[^@ \t\r\n]+@[^@ \t\r\n]+",
}
MASKED = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
LOOSE: tuple[str, ...] = (
    "date-time",
    "date",
    "time",
    "ipv6",
    "uri",
    "iri",
    "iri-reference",
    "uri-reference",
    "hostname",
    "duration",
)
LOOSE += ("regex", "email")  # what masks let through must be judged as well
KNOWN = {*MASKED, *PATTERNS, "regex", "idn-hostname"}
TIME = r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(\.\d+)?([zZ]|[+-]([01]\d|2[0-3]):[0-5]\d)"
DURATION = r"P(\d+W|(?=.)(\d+Y(\d+M(\d+D)?)?|\d+M(\d+D)?|\d+D)?(T(?=.)(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S))?)"
WHOLE = {
    "time": TIME,
    "duration": DURATION,
    "hostname": HOST,
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "uri": _address(SCHEME, CHAR),
    **PATTERNS,
}
DIALS = {"host-name": "hostname", "datetime": "date-time", "url": "uri", "ip-address": "ipv4"}


def require_known(name: str, pointer: str) -> None:
    """Raise InvalidRequest for a format whose name is almost that of one that the standard defines."""
    if name in KNOWN:
        return
    meant = DIALS.get(name) or DIALS.get(name.lower().replace("_", "-"))
    bare = name.lower().replace("_", "-")
    if meant or bare in KNOWN:
        hint = f"did you mean {meant!r}?" if meant else closest(bare, KNOWN)
        raise InvalidRequest(f"{pointer}: there is no format {name!r}", hint=hint)


def _time(text: str) -> bool:
    """A time of the day, with a leap second only at the end of a day of Greenwich."""
    found = re.fullmatch(TIME, text, re.ASCII)
    if not found:
        return False
    hour, minute, second, zone = int(found[1]), int(found[2]), int(found[3]), found[5]
    if second < 60:
        return True
    away = 0 if zone in "zZ" else (1 if zone[0] == "+" else -1) * (int(zone[1:3]) * 60 + int(zone[4:6]))
    return (hour * 60 + minute - away) % 1440 == 1439


def _date(text: str) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII)) and _parses(datetime.date.fromisoformat, text)


def _parses(parse: object, text: str) -> bool:
    try:
        parse(text)  # type: ignore[operator]
    except (ValueError, re.error, RecursionError):
        return False
    return True


def _ipv6(text: str) -> bool:
    return "%" not in text and _parses(ipaddress.IPv6Address, text)


def _bracketed(text: str) -> bool:
    """Whether the host of an address, where it stands in brackets, is an address of version 6 or later."""
    found = re.match(r"[^/?#]*//([^/?#]*@)?\[([^\]]*)\]", text)
    return (
        not found or _ipv6(found[2]) or bool(re.fullmatch(r"[vV][0-9a-fA-F]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+", found[2]))
    )


def _literal(text: str) -> bool:
    """Whether the address that stands for the host of a mailbox is one."""
    host = text.rpartition("@")[2][1:-1]
    return _ipv6(host[5:]) if host.startswith("IPv6:") else _parses(ipaddress.IPv4Address, host)


def _judge(name: str, text: str) -> bool:
    if name in ("date", "date-time"):
        day, _, rest = text.replace("t", "T").partition("T")
        return _date(day) and (_time(rest) if name == "date-time" else day == text)
    if name in ("ipv4", "ipv6"):
        return _ipv6(text) if name == "ipv6" else _parses(ipaddress.IPv4Address, text)
    if name == "regex":
        return not re.search(r"\(\?[^:=!<]|\\[aAzZ]", text) and _parses(
            re.compile, re.sub(r"\(\?<(?![=!])", "(?P<", text)
        )
    if name == "time":
        return _time(text)
    if name == "email":
        return re.fullmatch(EMAIL, text) is not None and ("[" not in text.rpartition("@")[2] or _literal(text))
    if name == "hostname":
        return re.fullmatch(HOST, text) is not None and not re.search(r"(^|\.)..--", text)
    return re.fullmatch(WHOLE[name], text) is not None and ("ri" not in name or _bracketed(text))


CHECKER = FormatChecker(formats=())
for _name in KNOWN - {"idn-hostname"}:
    CHECKER.checks(_name)(lambda value, name=_name: not isinstance(value, str) or _judge(name, value))
