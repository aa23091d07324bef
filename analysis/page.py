"""Page: the HTML that a report is made of. Every text is escaped here; nothing is loaded from anywhere."""

from __future__ import annotations

import base64
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
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .4rem; } h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; } p { margin: .5rem 0; } li { margin: .3rem 0; }
.lead { font-size: 1.1rem; } .soft { color: var(--soft); font-size: .92rem; }
.warn { color: var(--warn); font-weight: 600; }
.box { background: var(--panel); border-left: 4px solid var(--accent); border-radius: 6px; padding: .7rem 1.1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td.number, th.number { text-align: right; white-space: nowrap; }
td.text { min-width: 16rem; }
tr.strong td { font-weight: 650; background: var(--panel); } code { font-size: .9em; overflow-wrap: anywhere; }
figure { margin: 0; } .front { max-width: 100%; height: auto; background: #fff; border-radius: 6px; display: block; }
.grids { display: flex; flex-wrap: wrap; gap: 1.1rem; } .grids figure { flex: 0 1 18rem; }
.grids img { width: 100%; image-rendering: pixelated; background: #fff; border-radius: 4px; display: block; }
figcaption { font-size: .9rem; margin-bottom: .25rem; }
@media print { body { max-width: none; } .box { border: 1px solid #999; } }
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading; numbers stand to the right, long text gets room."""

    title: str
    number: bool = False
    text: bool = False


def page(*, title: str, body: Sequence[str]) -> str:
    """A whole document of already-built parts."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def heading(text: str, *, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


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


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, strong: int | None = None) -> str:
    """A table that scrolls sideways on a narrow screen; the row `strong` stands out."""
    number = [_class("number" if column.number else "text" if column.text else "") for column in columns]
    head = "".join(f'<th scope="col"{c}>{escape(col.title)}</th>' for c, col in zip(number, columns, strict=True))
    lines = [
        f"<tr{_class('strong' if index == strong else '')}>"
        + "".join(f"<td{c}>{escape(cell)}</td>" for c, cell in zip(number, row, strict=True))
        + "</tr>"
        for index, row in enumerate(rows)
    ]
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def picture(png: bytes, *, alt: str, kind: str = "front") -> str:
    """An image inside the page itself."""
    return f'<img{_class(kind)} alt="{escape(alt)}" src="{_data(png)}">'


def figure(png: bytes, *, title: str) -> str:
    """An image under its title."""
    return f'<figure><figcaption>{escape(title)}</figcaption><img alt="{escape(title)}" src="{_data(png)}"></figure>'


def figures(items: Sequence[str]) -> str:
    """Figures side by side, as many as fit."""
    return f'<div class="grids">{"".join(items)}</div>'


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
