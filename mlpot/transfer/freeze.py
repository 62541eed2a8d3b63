"""Keep some weights of a donor as they are while the others are fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence

from mlpot.errors import RecipeError
from mlpot.model.potential import Potential
from mlpot.training.weights import matching, weights
from mlpot.transfer.donor import TransferReport


def freeze(model: Potential, patterns: Sequence[str], report: TransferReport | None = None) -> list[str]:
    """Take the weights whose names match out of the training, and say so in the report.

    Parameters
    ----------
    model
        Its parameters are changed to ``requires_grad = False`` where they match.
    patterns
        Shell patterns on the names of weights, such as ``network.layers.0.*``.
    report
        Where the frozen tensors are marked.

    Returns
    -------
    list of str
        Names of the frozen weights.

    Raises
    ------
    RecipeError
        If a pattern matches nothing, or all patterns together leave nothing to train.
    """
    parameters = weights(model)
    frozen = list(dict.fromkeys(name for p in patterns for name in matching(parameters, p, "freeze")))
    if len(frozen) == len(parameters):
        raise RecipeError(f"freeze: {', '.join(patterns)} match every weight, so nothing is left to train.")
    for name in frozen:
        for parameter in parameters[name]:
            parameter.requires_grad_(False)
        if report is not None:
            report.mark(name, "frozen", report.records[name].action)
    return frozen
