"""Page: the HTML that a report is made of. Every text is escaped here; nothing is loaded from anywhere.

It reads on a wide screen, at 390 pixels (there a table's rows become cards), on paper and by ear: landmarks, headings
in order, a caption and row headings in every table, colours of at least 4.5 to 1. No script.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #ffffff; --panel: #f4f6f8; --line: #d5dae0;
  --accent: #0b62a8; --warn: #9a3b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #a3adb8; --paper: #14171b; --panel: #1e2329;
  --line: #39414b; --accent: #79b8f0; --warn: #ffae70; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .6rem; } h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; } p { margin: .5rem 0; } li { margin: .3rem 0; }
a { color: var(--accent); } nav ol { columns: 16rem; margin: .3rem 0; padding-left: 1.4rem; }
.lead { font-size: 1.1rem; } .soft { color: var(--soft); font-size: .92rem; }
.warn { color: var(--warn); font-weight: 600; }
.box { background: var(--panel); border-left: 4px solid var(--accent); border-radius: 6px; padding: .7rem 1.1rem; }
table { border-collapse: collapse; width: 100%; margin: .8rem 0; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); font-size: .92rem; padding-bottom: .3rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; } tbody th { font-weight: 500; }
td.number, th.number { text-align: right; overflow-wrap: normal; }
tr.strong td, tr.strong th { font-weight: 650; background: var(--panel); }
tr.base td, tr.base th { color: var(--soft); font-style: italic; }
code { font-size: .9em; overflow-wrap: anywhere; }
details { border-bottom: 1px solid var(--line); padding: .3rem 0; } summary { cursor: pointer; padding: .15rem 0; }
dl { display: grid; grid-template-columns: minmax(8rem, 15rem) 1fr; gap: .15rem 1rem; margin: .4rem 0 .8rem;
  font-size: .9rem; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 0; } .front { max-width: 100%; height: auto; background: #fff; border-radius: 6px; display: block; }
.strip { max-width: 100%; height: auto; background: #fff; display: block; }
.grids { display: flex; flex-wrap: wrap; gap: 1.1rem; } .grids figure { flex: 0 1 18rem; break-inside: avoid; }
.grids img { width: 100%; background: #fff; border-radius: 4px; display: block; }
figcaption { font-size: .9rem; margin-bottom: .25rem; }
@media (max-width: 40rem) {
  body { padding: 1rem .8rem 3rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .3rem; }
  table, tbody, tr, th, td { display: block; } thead { display: none; } caption { display: block; }
  tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
  th, td { border: 0; padding: .1rem .4rem; } tbody th { font-weight: 650; }
  td.number, th.number { text-align: left; }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); font-weight: 400; } }
@media print {
  :root { color-scheme: light; --ink: #000000; --soft: #404040; --paper: #ffffff; --panel: #f4f4f4; --line: #bbbbbb;
    --accent: #000000; --warn: #000000; }
  @page { size: A4; margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 10.5pt; } h2, h3, summary { break-after: avoid; }
  p, li { font-size: 9.5pt; margin: .2rem 0; } h2 { margin-top: 1.2rem; } table, details { break-inside: avoid; }
  table { font-size: 8.5pt; } th, td { padding: .12rem .35rem; } tr, figure, .box { break-inside: avoid; }
  dl { display: block; font-size: 8.5pt; margin: 0; } dt, dd { display: inline; }
  dt::after { content: ": "; } dd::after { content: "; "; } details { padding: .1rem 0; font-size: 9pt; }
  .box { border: 1px solid #999999; } .grids figure { flex-basis: 5.2cm; } .front { max-height: 20cm; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading; numbers stand to the right."""

    title: str
    number: bool = False


def page(*, title: str, head: Sequence[str], contents: Sequence[str], body: Sequence[str]) -> str:
    """A whole document of already-built parts: what stands first, a list of the headings `contents`, then the rest."""
    links = "".join(f'<li><a href="#{anchor(text)}">{escape(text)}</a></li>' for text in contents)
    nav = f'<nav aria-label="Contents"><ol>{links}</ol></nav>\n' if contents else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n{chr(10).join(head)}\n</header>\n{nav}<main>\n{chr(10).join(body)}\n</main>\n</body>\n</html>\n"
    )


def anchor(text: str) -> str:
    """The name by which a heading is linked.

    >>> anchor("What no epsilon covers")
    'what-no-epsilon-covers'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def heading(text: str, *, level: int = 2) -> str:
    """A heading; those of the second level can be linked."""
    name = f' id="{anchor(text)}"' if level == 2 else ""
    return f"<h{level}{name}>{escape(text)}</h{level}>"


def paragraph(text: str, *, kind: str = "") -> str:
    """A paragraph; what begins with WARNING stands out."""
    kind = "warn" if text.startswith("WARNING") else kind
    return f"<p{_class(kind)}>{escape(text)}</p>"


def bullets(texts: Sequence[str]) -> str:
    """A list of sentences; what begins with WARNING stands out."""
    items = [f"<li{_class('warn' if text.startswith('WARNING') else '')}>{escape(text)}</li>" for text in texts]
    return f"<ul>{''.join(items)}</ul>"


def box(parts: Sequence[str]) -> str:
    """Parts that a reader must not miss."""
    return f'<div class="box">{"".join(parts)}</div>'


def folded(summary: str, pairs: Sequence[tuple[str, str]]) -> str:
    """A line that folds out into names and values."""
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<details><summary>{escape(summary)}</summary><dl>{inside}</dl></details>"


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    strong: int | None = None,
    base: Sequence[Sequence[str]] = (),
) -> str:
    """A table whose first column names its rows; the row `strong` stands out, `base` are rows to compare with.

    Roles are written out: on a narrow screen rows are shown as cards, which would else be no table to a screen reader.
    """
    kinds = [_class("number" if column.number else "") for column in columns]
    titles = [column.title for column in columns]
    head = "".join(
        f'<th scope="col" role="columnheader"{kind}>{escape(title)}</th>'
        for kind, title in zip(kinds, titles, strict=True)
    )
    lines = [_row(titles, kinds, row, "strong" if index == strong else "") for index, row in enumerate(rows)]
    lines += [_row(titles, kinds, row, "base") for row in base]
    return (
        f'<table role="table"><caption>{escape(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">\n'
        + "\n".join(lines)
        + "\n</tbody></table>"
    )


def _row(titles: Sequence[str], kinds: Sequence[str], cells: Sequence[str], kind: str) -> str:
    first = f'<th scope="row" role="rowheader">{escape(cells[0])}</th>'
    rest = "".join(
        f'<td role="cell" data-label="{escape(title)}"{cls}>{escape(cell)}</td>'
        for title, cls, cell in list(zip(titles, kinds, cells, strict=True))[1:]
    )
    return f'<tr role="row"{_class(kind)}>{first}{rest}</tr>'


def picture(png: bytes, *, alt: str, kind: str = "front") -> str:
    """An image inside the page itself."""
    return f'<img{_class(kind)} alt="{escape(alt)}" src="{_data(png)}">'


def figure(png: bytes, *, title: str, alt: str) -> str:
    """An image under its title."""
    return f'<figure><figcaption>{escape(title)}</figcaption><img alt="{escape(alt)}" src="{_data(png)}"></figure>'


def figures(items: Sequence[str]) -> str:
    """Figures side by side, as many as fit."""
    return f'<div class="grids">{"".join(items)}</div>'


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
