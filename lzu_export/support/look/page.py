"""Pages: a frame of title, contents and sections around markup, in one file without a network.

A page's policy lets it load nothing, and run no script but the one of this package: whatever a
name or a path contains, the browser shows it and never runs it.
"""

import base64
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from lzu_export.support.escaping import visible
from lzu_export.support.look.colours import variables

HERE = Path(__file__).parent
PICTURES = "data:"
"""Origins of a page's pictures: those in the page itself."""
BESIDE = "'self' file: data:"
"""Origins of the pictures of a page that shows files beside it."""


class Section(NamedTuple):
    """A part of a page, with a heading that the contents list."""

    title: str
    body: str
    """Markup."""


@lru_cache
def style() -> str:
    """Return the style sheet: the colours and the rules of all pages."""
    return variables() + (HERE / "look.css").read_text(encoding="utf-8")


@lru_cache
def script() -> str:
    """Return the script of all pages."""
    return (HERE / "look.js").read_text(encoding="utf-8")


def policy(pictures: str = PICTURES) -> str:
    """Return a page's content security policy, which allows `script` alone to run.

    Args:
        pictures: origins that pictures and videos may have.
    """
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src {pictures}; media-src {pictures}; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    )


def text(value: object) -> str:
    """Escape a value as text of a page or of an attribute; invisible characters are spelt out."""
    return escape(visible(str(value), lines=True), quote=True)


def slug(title: str) -> str:
    """Return a title as an identifier within a page."""
    return "".join(each if each.isalnum() else "-" for each in title.lower()).strip("-")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    name: str,
    numbers: int = 1,
    prose: Collection[int] = (),
    kinds: Mapping[int, str] | None = None,
) -> str:
    """Return a table that can be sorted and scrolls where it is too wide.

    Args:
        columns: headings.
        rows: the cells of each row as text; the first one names the row.
        name: name of the table, for screen readers.
        numbers: index of the first column of numbers, which are aligned on the right.
        prose: indices of the columns of sentences, whose lines are broken.
        kinds: class of the style sheet by the row's index, such as `best` or `lost`.
    """
    aligned = ["" if i < numbers or i in prose else ' class="n"' for i in range(len(columns))]
    kind = [' class="text"' if i in prose else each for i, each in enumerate(aligned)]
    heads = "".join(
        f'<th scope="col"{each}>{text(title)}</th>'
        for each, title in zip(aligned, columns, strict=True)
    )
    body, marks = [], kinds or {}
    for i, (first, *rest) in enumerate(rows):
        cells = "".join(
            f"<td{each}>{text(cell)}</td>" for each, cell in zip(kind[1:], rest, strict=True)
        )
        mark = f' class="{marks[i]}"' if i in marks else ""
        body.append(f'<tr{mark}><th scope="row">{text(first)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(name)}">'
        f'<table class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Return a list of names and values, as text."""
    rows = "".join(f"<div><dt>{text(a)}</dt><dd>{text(b)}</dd></div>" for a, b in pairs)
    return f'<dl class="facts">{rows}</dl>'


def link(file: str, title: str | None = None) -> str:
    """Return a link to a file beside the page.

    Args:
        file: its name.
        title: text of the link, by default the name.
    """
    return f'<a href="{text(quote(file))}">{text(title or file)}</a>'


def links(files: Iterable[tuple[str, str]]) -> str:
    """Return a list of files beside the page, each name with what the file holds."""
    rows = "".join(f"<li>{link(file)}: {text(what)}</li>" for file, what in files)
    return f"<ul>{rows}</ul>"


def lines(content: str, name: str) -> str:
    """Return lines of code or configuration with a button that copies them.

    Args:
        content: the lines.
        name: what they are, for screen readers.
    """
    return (
        f'<pre class="lines" tabindex="0" role="region" aria-label="{text(name)}">'
        f"<code>{text(content)}</code></pre>"
    )


def note(*sentences: str) -> str:
    """Return sentences in small print; nothing without any."""
    return f'<p class="note">{text(" ".join(sentences))}</p>' if sentences else ""


def folded(title: str, body: str) -> str:
    """Return markup that a click on its title unfolds; print shows it."""
    return f"<details><summary>{text(title)}</summary>{body}</details>"


def both(figures: Mapping[str, str]) -> str:
    """Return a figure that is drawn for a screen (`wide`) and for a phone (`narrow`)."""
    return "".join(f'<div class="{size}-only">{figures[size]}</div>' for size in ("wide", "narrow"))


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes of a media type, such as `image/png`, as an address within the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def figure(source: str, description: str, caption: str = "") -> str:
    """Return a picture that a click enlarges.

    Args:
        source: its address.
        description: text for screen readers.
        caption: text below it, by default the description.
    """
    return (
        f'<figure><img src="{text(source)}" alt="{text(description)}" loading="lazy">'
        f"<figcaption>{text(caption or description)}</figcaption></figure>"
    )


def document(
    title: str,
    *,
    kind: str,
    meta: str = "",
    lead: Sequence[str] = (),
    sections: Sequence[Section] = (),
    pictures: str = PICTURES,
) -> str:
    """Return a whole page.

    Args:
        title: heading of the page.
        kind: line above it, which says what kind of page this is.
        meta: line below it, such as the date and the machine.
        lead: sentences of the verdict, which come first.
        sections: parts of the page; two or more get contents.
        pictures: origins of its pictures, `PICTURES` or `BESIDE`.
    """
    items = "".join(
        f'<li><a href="#{slug(each.title)}">{text(each.title)}</a></li>' for each in sections
    )
    contents = f'<nav aria-label="Contents"><ul>{items}</ul></nav>' if len(sections) > 1 else ""
    said = "".join(f'<p class="lead">{text(each)}</p>' for each in lead)
    parts = "".join(
        f'<section id="{slug(each.title)}"><h2>{text(each.title)}</h2>{each.body}</section>'
        for each in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy(pictures)}">
<title>{text(title)}</title>
<link rel="icon" href="data:,">
<style>
{style()}</style>
</head>
<body>
<header>
<p class="kind">{text(kind)}</p>
<h1>{text(title)}</h1>
<p class="meta">{text(meta)}</p>
{said}
</header>
{contents}
<main>
{parts}
</main>
<script>{script()}</script>
</body>
</html>
"""
