"""One page on runs, models, studies and what came of their tests: ``mlpot report``."""

from __future__ import annotations

from mlpot.reporting.page import report

__all__ = ["report"]
