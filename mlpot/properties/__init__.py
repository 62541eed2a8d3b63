"""Properties of a crystal under any ASE calculator: each a record with value, unit, settings and time."""

from mlpot.properties.compute import compute
from mlpot.properties.record import Quantity, Record
from mlpot.properties.references import Comparison, compare, references
from mlpot.properties.registry import PROPERTIES, Property, find, of_set
from mlpot.properties.subject import PropertyError, PropertySettings

__all__ = [
    "PROPERTIES",
    "Comparison",
    "Property",
    "PropertyError",
    "PropertySettings",
    "Quantity",
    "Record",
    "compare",
    "compute",
    "find",
    "of_set",
    "references",
]
