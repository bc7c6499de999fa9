"""What the pages of results are made of: the frame, tables, figures, where the figures come from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

BREAKABLE = re.compile(r"[,+(]")  # after these a method's text form may go on in the next line
BUSY = 0.5  # of the cores: a machine with more to do before the measurement is said to have been busy

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; color: #1d2433; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.25rem; margin: 2.4rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; } p { margin: .4rem 0; max-width: 46rem; }
.origin, .small { color: #5b6478; font-size: .87rem; }
.busy { background: #fff4d6; border-left: 4px solid #e09f00; padding: .4rem .8rem; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.card { border: 1px solid #dfe3ea; border-radius: 8px; padding: .6rem .9rem; width: 17rem; }
.card b { font-size: 1.55rem; } .card div { color: #5b6478; font-size: .85rem; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; display: block; }
figure { margin: .6rem 0 1rem; } figcaption { color: #5b6478; font-size: .87rem; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; margin: .4rem 0 1rem; }
th, td { padding: .18rem .55rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; border-bottom: 1px solid #9aa3b5; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; }
tbody tr:nth-child(even) { background: #f6f7fa; } td.best { font-weight: 700; }
tr.mean td { border-top: 1px solid #9aa3b5; }
details { margin: .5rem 0; } summary { cursor: pointer; color: #0b4f85; }
pre { background: #f6f7fa; border: 1px solid #e4e8ef; border-radius: 6px; padding: .7rem; overflow-x: auto;
  font-size: .8rem; line-height: 1.4; }
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A page of these parts, under its title."""
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(
    provenance: dict[str, Any], name: str, body: Sequence[str], *, line: str, notes: Sequence[str]
) -> list[str]:
    """What a page shows of the result in the file of that name: `line` says what it is, `notes` what was left out."""
    begin = [f'<p class="origin">{escape(line)}</p>', *_busy(provenance)]
    return [*begin, *(body or ["<p>Nothing was measured.</p>"]), *_origin(provenance, notes, name)]


def _busy(provenance: dict[str, Any]) -> list[str]:
    """A warning where the machine had other things to do."""
    load, cores = provenance["machine"].get("load"), provenance["machine"].get("cores") or 1
    if not load or load < BUSY * cores:
        return []
    return [
        f'<p class="busy">The machine was busy: a load of {load:.1f} on {cores} cores when the measurement began. '
        "These figures are not to be relied on.</p>"
    ]


def _origin(provenance: dict[str, Any], notes: Sequence[str], name: str) -> list[str]:
    parts = ["<h2>Left out</h2>", f"<pre>{escape(chr(10).join(notes))}</pre>"] if notes else []
    record = json.dumps(provenance, indent=1, ensure_ascii=False)
    return [
        *parts,
        "<h2>Where this comes from</h2>",
        f"<p><code>{escape(provenance['command'])}</code></p>",
        f'<p class="small">{escape(provenance["date"])}, commit {escape(provenance["commit"] or "unknown")}; '
        f"every figure is in {escape(name)}.</p>",
        folded("versions, machine, settings", f"<pre>{escape(record)}</pre>"),
    ]


def figure(drawn: str, caption: str) -> str:
    """A drawing over its caption."""
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def folded(title: str, content: str) -> str:
    """What shows when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def row(tag: str, cells: Iterable[str], kind: str = "") -> str:
    """A line of a table; the kind `mean` stands under a rule."""
    begin = f'<tr class="{kind}">' if kind else "<tr>"
    texts = [BREAKABLE.sub("\\g<0><wbr>", escape(cell)) if tag == "th" else escape(cell) for cell in cells]
    content = "".join(f"<{tag}>{text}</{tag}>" for text in texts)
    return f"{begin}{content}</tr>"


def table(head: str, body: Iterable[str]) -> str:
    """Rows under a head; wide ones scroll."""
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(body)}</tbody></table></div>'
