"""The page: a table of contents and a section for each source, nothing loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlpot.errors import DataError
from mlpot.page import page
from mlpot.reporting.recognise import Source, recognise
from mlpot.reporting.results import (
    STYLES,
    doctor_section,
    evaluation_section,
    melting_section,
    observables_section,
    properties_section,
    stability_section,
    study_section,
)
from mlpot.reporting.runs import model_section, run_section
from mlpot.reporting.section import Section, scoped

#: Called with the fraction done (0 to 1) and what is going on.
Progress = Callable[[float, str], None]

_STYLE = """
nav{background:#f2f5f9;padding:.6rem 1rem}
nav ol{margin:.3rem 0;padding-left:1.4rem}
section.source{border-top:3px solid #444;margin-top:3rem}
section.source>h2{margin-bottom:.2rem}
.path{color:#555;margin-top:0;font-size:.9rem;overflow-wrap:anywhere}
h1,h2,h3,h4,p,li,summary,figcaption{overflow-wrap:anywhere}
.texts td:last-child{text-align:left;white-space:normal;min-width:10rem;overflow-wrap:anywhere}
.texts th:last-child{text-align:left}
section.source pre{max-height:24rem;overflow-y:auto;white-space:pre-wrap;overflow-wrap:anywhere}
.missing{border-left:4px solid #b8860b;background:#fbf6e8;padding:.1rem 1rem;margin:1.5rem 0}
.missing h3{margin:.5rem 0}
.made{margin-bottom:.2rem;color:#555;font-size:.9rem}
details.card{border:1px solid #ddd;padding:.5rem 1rem;margin:1.5rem 0}
details.card summary{cursor:pointer;font-weight:bold}
details.card code{overflow-wrap:anywhere}
"""


def report(
    names: Sequence[str | Path], timed: bool = False, progress: Progress | None = None
) -> tuple[str, dict[str, Any]]:
    """Return a page on runs, models, studies and test results, and what it shows as plain values.

    Parameters
    ----------
    names
        Folders, files, or names of shipped models; sections come in this order.
    timed
        Measure the speed of models.
    progress
        Called as the work goes on.

    Returns
    -------
    str
        HTML, complete in itself.
    dict
        ``sections``: of each ``kind``, ``path``, ``title``, what is ``shown``, what is ``missing``
        and why, and the ``figures`` with the commands that make them.

    Raises
    ------
    DataError
        If a name is nothing that can be shown (before anything is computed), or a file is damaged.
    """
    sources = [source for name in names for source in recognise(name)]
    sections = []
    for number, source in enumerate(sources):

        def update(fraction: float, number: int = number, source: Source = source) -> None:
            if progress is not None:
                progress((number + fraction) / len(sources), str(source.path))

        update(0.0)
        try:
            sections.append(_section(source, timed, update))
        except (KeyError, TypeError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise DataError(
                f"{source.path}: its files are not as mlpot writes them ({what}); make them again."
            ) from error
    return _assemble(sections), {"sections": [section.asdict() for section in sections]}


def _section(source: Source, timed: bool, progress: Callable[[float], None]) -> Section:
    if source.kind == "run":
        return run_section(source.path, timed, progress)
    if source.kind == "model":
        return model_section(source.path, timed, progress)
    if source.kind == "evaluation":
        return evaluation_section(source.path, progress)
    makers: dict[str, Callable[[Path], Section]] = {
        "study": study_section,
        "stability": stability_section,
        "properties": properties_section,
        "observables": observables_section,
        "melting": melting_section,
        "doctor": doctor_section,
    }
    return makers[source.kind](source.path)


def _assemble(sections: Sequence[Section]) -> str:
    title = sections[0].title if len(sections) == 1 else f"{sections[0].title}, and {len(sections) - 1} more"
    anchors = [f"section-{number}" for number in range(1, len(sections) + 1)]
    entries = [
        f"<li><a href='#{anchor}'>{html.escape(section.title)}</a></li>"
        for anchor, section in zip(anchors, sections, strict=True)
    ]
    contents = f"<nav><b>Contents</b><ol>{''.join(entries)}</ol></nav>" if len(sections) > 1 else ""
    rendered = [section.render(anchor) for anchor, section in zip(anchors, sections, strict=True)]
    return page(title, [contents, *rendered], _STYLE + scoped(STYLES))
