"""A section of the page: what is shown of one source, what is not and why, and how to repeat it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlpot.page import facts, picture, pictures, png, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Section:
    """What is shown of one source.

    Attributes
    ----------
    kind
        Name of the kind; also the CSS class of the section.
    path
        Of the source, as it was given.
    title
        Plain text.
    parts
        HTML, whose highest headings are ``h2``.
    shown
        Titles of what there is, in order.
    missing
        What there is not, with the reason.
    figures
        Names of the figures, with the command that makes them.
    """

    kind: str
    path: str
    title: str
    parts: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    figures: dict[str, str] = field(default_factory=dict)

    def heading(self, text: str) -> None:
        """Begin a part."""
        self.shown.append(text)
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def say(self, text: str) -> None:
        """Add a remark."""
        self.parts.append(f"<p class='remark'>{html.escape(text)}</p>")

    def facts(self, rows: Sequence[tuple[str, str]]) -> None:
        """Add names with what belongs to them."""
        self.parts.append(facts(rows))

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table under a heading."""
        self.heading(title)
        self.parts.append(table(header, rows))

    def text_table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table whose last column is text, which is broken into lines."""
        self.parts.append(f"<div class='texts'>{table(header, rows)}</div>")

    def figure(self, name: str, caption: str, image: Figure | bytes, command: str) -> None:
        """Add a figure, drawn or as PNG; ``command``: what makes it."""
        self.figures[name] = command
        self.parts.append(picture(caption, image if isinstance(image, bytes) else png(image)))

    def abreast(self, caption: str, figures: Mapping[str, Figure], command: str) -> None:
        """Add figures, by name, side by side where there is room; ``command``: what makes them."""
        self.figures |= dict.fromkeys(figures, command)
        self.parts.append(pictures(caption, {name: png(figure) for name, figure in figures.items()}))

    def take(self, title: str, parts: Sequence[str], figures: Sequence[str], command: str) -> None:
        """Add the body of a page that another command writes, with the names of its figures."""
        self.shown.append(title)
        self.parts += parts
        self.figures |= dict.fromkeys(figures, command)

    def lack(self, what: str, why: str) -> None:
        """Note what cannot be shown."""
        self.missing[what] = why

    def asdict(self) -> dict[str, Any]:
        """Return plain values for JSON: all but the HTML."""
        return {
            "kind": self.kind,
            "path": self.path,
            "title": self.title,
            "shown": self.shown,
            "missing": self.missing,
            "figures": self.figures,
        }

    def render(self, anchor: str) -> str:
        """Return the section as HTML; ``anchor``: its id."""
        parts = [
            f"<section id='{anchor}' class='source {self.kind}'><h2>{html.escape(self.title)}</h2>",
            f"<p class='path'>{html.escape(self.path)}</p>",
            *(lowered(part) for part in self.parts),
        ]
        if self.missing:
            parts.append("<div class='missing'><h3>Not shown</h3><ul>")
            parts += [
                f"<li><b>{html.escape(what)}</b>: {html.escape(why)}</li>"
                for what, why in self.missing.items()
            ]
            parts.append("</ul></div>")
        if self.figures:
            parts.append("<h3>How to make the figures again</h3>")
            commands: dict[str, list[str]] = {}
            for name, command in self.figures.items():
                commands.setdefault(command, []).append(name)
            parts += [
                f"<p class='made'>{html.escape('; '.join(names))}</p><pre>{html.escape(command)}</pre>"
                for command, names in commands.items()
            ]
        return "\n".join([*parts, "</section>"])


def lowered(part: str) -> str:
    """Return HTML with its headings one level down."""
    return re.sub(r"<(/?)h([1-5])>", lambda found: f"<{found[1]}h{int(found[2]) + 1}>", part)


def scoped(styles: Mapping[str, str]) -> str:
    """Return CSS rules that hold only in sections of their kind; ``styles``: rules by kind."""
    rules = []
    for kind, style in styles.items():
        for selectors, declarations in re.findall(r"([^{}]+)\{([^{}]*)\}", style):
            own = ",".join(f".{kind} {one.strip()}" for one in selectors.split(","))
            rules.append(f"{own}{{{declarations}}}")
    return "\n".join(rules)
