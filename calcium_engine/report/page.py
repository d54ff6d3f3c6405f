"""HTML, and nothing else: text is escaped here, and only here, on its way into the page."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #ffffff; --line: #d4d4d4; --soft: #f5f5f5; --quiet: #5a5a5a;
  --link: #0b5a8f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #161616; --line: #3d3d3d; --soft: #222222; --quiet: #a8a8a8; --link: #7cc0ee; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 64rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p.under { color: var(--quiet); margin: 0 0 1.2rem; }
a { color: var(--link); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; }
li { margin: .2rem 0; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #ffffff; }
figcaption { color: var(--quiet); font-size: .9rem; margin-top: .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); }
td { overflow-wrap: break-word; }
td:first-child, table.facts th { white-space: nowrap; }
td:last-child { min-width: 16rem; }
table.facts th { font-weight: normal; color: var(--quiet); }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; font-size: .85rem; }
summary { cursor: pointer; }
@media print {
  :root { --ink: #000000; --paper: #ffffff; --line: #bbbbbb; --soft: #f5f5f5; --quiet: #444444; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""


def sentences(lines: Iterable[str]) -> str:
    """Return sentences as a list."""
    items = "\n".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>\n{items}\n</ul>" if items else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with a row of heads."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def facts(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of labels and values."""
    body = "\n".join(f'<tr><th scope="row">{escape(row[0])}</th><td>{escape(row[1])}</td></tr>' for row in rows)
    return f'<table class="facts">\n<tbody>\n{body}\n</tbody>\n</table>'


def picture(png: bytes, caption: str) -> str:
    """Return a figure with the image inside the page, wide and narrow ones at the same scale."""
    data = base64.b64encode(png).decode("ascii")
    text = escape(caption)
    width = round(0.7 * int.from_bytes(png[16:20], "big"))  # a PNG's header holds its width there; 140 dots an inch become 98
    image = f'<img alt="{text}" width="{width}" src="data:image/png;base64,{data}">'
    return f"<figure>\n{image}\n<figcaption>{text}</figcaption>\n</figure>"


def folded(title: str, content: str) -> str:
    """Return verbatim text behind a title that opens it."""
    return f"<details>\n<summary>{escape(title)}</summary>\n<pre>{escape(content)}</pre>\n</details>"


def page(title: str, under: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Return the whole document; a section is its anchor, its title and its content, which is HTML already."""
    links = "\n".join(f'<li><a href="#{escape(anchor)}">{escape(name)}</a></li>' for anchor, name, _ in sections)
    body = "\n".join(
        f'<section id="{escape(anchor)}">\n<h2>{escape(name)}</h2>\n{content}\n</section>' for anchor, name, content in sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="under">{escape(under)}</p>
</header>
<nav aria-label="Contents"><ul>
{links}
</ul></nav>
<main>
{body}
</main>
</body>
</html>
"""
