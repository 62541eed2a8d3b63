"""One HTML page that loads nothing from elsewhere: its frame, its tables, its figures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}
table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
.wide{overflow-x:auto}
.wide table{font-size:.88rem}
.wide th,.wide td{white-space:nowrap;padding:.25rem .5rem}
figure{margin:1.5rem 0}
img{max-width:100%;height:auto}
.abreast{display:grid;gap:1rem}
.facts tr:first-child{display:none}
.facts td{vertical-align:top}
.facts td:last-child{text-align:left;white-space:normal;overflow-wrap:anywhere}
figcaption,.remark{color:#555;font-size:.9rem}
pre{overflow-x:auto;background:#f5f5f5;padding:.6rem 1rem;font-size:.85rem}
"""


def page(title: str, parts: Sequence[str], style: str = "") -> str:
    """Return a page as text.

    Parameters
    ----------
    title
        Plain text, also the heading.
    parts
        HTML, one after the other.
    style
        CSS rules beside those all pages have.
    """
    return "\n".join(
        [
            "<!doctype html><html lang='en'><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{html.escape(title)}</title><style>{_STYLE}{style}</style>",
            f"<h1>{html.escape(title)}</h1>",
            *parts,
        ]
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], classes: Sequence[str] | None = None) -> str:
    """Return a table of plain texts; a wide one scrolls in itself. ``classes``: CSS class of each row."""
    names = [""] * len(rows) if classes is None else classes
    body = [_row("td", row, name) for row, name in zip(rows, names, strict=True)]
    return f"<div class='wide'><table>{_row('th', header)}{''.join(body)}</table></div>"


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Return names with what belongs to them, broken into lines."""
    return f"<div class='facts'>{table(('', ''), rows)}</div>"


def _row(tag: str, texts: Sequence[str], name: str = "") -> str:
    cells = "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)
    return f"<tr class='{name}'>{cells}</tr>" if name else f"<tr>{cells}</tr>"


def picture(caption: str, image: bytes) -> str:
    """Return a PNG with its caption, inside the page."""
    return f"<figure>{_embedded(caption, image)}<figcaption>{html.escape(caption)}</figcaption></figure>"


def pictures(caption: str, images: Mapping[str, bytes]) -> str:
    """Return PNGs, by what they show, side by side where there is room, with one caption."""
    embedded = "".join(_embedded(name, image) for name, image in images.items())
    text = html.escape(caption)
    width = 18 if len(images) % 3 == 0 else 24  # three in a row, or two
    columns = f"grid-template-columns:repeat(auto-fit,minmax(min({width}rem,100%),1fr))"
    grid = f"<div class='abreast' style='{columns}'>{embedded}</div>"
    return f"<figure>{grid}<figcaption>{text}</figcaption></figure>"


def _embedded(text: str, image: bytes) -> str:
    data = base64.b64encode(image).decode()
    return f"<img alt='{html.escape(text)}' src='data:image/png;base64,{data}'>"


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
    return buffer.getvalue()
