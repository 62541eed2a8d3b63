"""Keep some weights of a donor as they are while the others are fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from mlpot.errors import RecipeError
from mlpot.model.potential import Potential
from mlpot.transfer.donor import TransferReport


def freeze(model: Potential, patterns: Sequence[str], report: TransferReport | None = None) -> list[str]:
    """Take the weights whose names match out of the training, and say so in the report.

    Parameters
    ----------
    model
        Its parameters are changed to ``requires_grad = False`` where they match.
    patterns
        Shell patterns on parameter names, such as ``network.layers.0.*``.
    report
        Where the frozen tensors are marked.

    Returns
    -------
    list of str
        Names of the frozen parameters.

    Raises
    ------
    RecipeError
        If a pattern matches nothing, or all patterns together leave nothing to train.
    """
    parameters = dict(model.named_parameters())
    frozen: list[str] = []
    for pattern in patterns:
        matched = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matched:
            raise RecipeError(f"freeze: '{pattern}' matches no weight; there are {', '.join(parameters)}.")
        frozen += [name for name in matched if name not in frozen]
    if len(frozen) == len(parameters):
        raise RecipeError(f"freeze: {', '.join(patterns)} match every weight, so nothing is left to train.")
    for name in frozen:
        parameters[name].requires_grad_(False)
        if report is not None:
            report.mark(name, "frozen", report.records[name].action)
    return frozen
