"""What is wrong with a data set, found before a potential is trained on it."""

from mlpot.checking.finding import Finding
from mlpot.checking.report import Report
from mlpot.checking.run import check

__all__ = ["Finding", "Report", "check"]
