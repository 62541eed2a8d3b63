"""A check-up of any potential: all physics checks, curves, speed, as a table, JSON and a page."""

from mlpot.doctor.examination import Examination
from mlpot.doctor.page import write_page
from mlpot.doctor.run import diagnose

__all__ = ["Examination", "diagnose", "write_page"]
