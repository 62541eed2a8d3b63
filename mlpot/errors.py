"""Errors a user can act on: each message says what is wrong, where, and what to do.

The command line turns every :class:`MLPotError` into one line on standard error and
exit status 2; anything else is a bug and keeps its traceback.
"""


class MLPotError(Exception):
    """A mistake in the input of mlpot, with its place and its remedy in the message."""


class DataError(MLPotError):
    """A file, frame or label that cannot be used as it is."""


class RecipeError(MLPotError):
    """A recipe or an option that mlpot does not understand or cannot carry out."""


class ModelFileError(MLPotError):
    """A model file that is missing, damaged, altered or of an unknown format."""


class ElementError(MLPotError):
    """A chemical element that a model does not know."""


class GeometryError(MLPotError):
    """Positions or cells on which no potential can be evaluated."""


class LatticeError(MLPotError):
    """A lattice, Hamiltonian or sampler setting that makes no sense."""


class NativeError(MLPotError):
    """Native kernels that were asked for and cannot be had."""


class NoCompilerError(NativeError):
    """No C++ compiler to build them with."""


class Interrupted(MLPotError):
    """Ctrl-C or SIGTERM during a run; the message says how to continue."""

    #: What a shell expects of a program that SIGINT ended.
    exit_status = 130
