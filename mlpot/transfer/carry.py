"""Carry a potential to other elements: donate, scale, shift, fine-tune; and say what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field

from mlpot.data.frame import Frame
from mlpot.errors import DataError
from mlpot.model.potential import Potential
from mlpot.training.offsets import least_squares_offsets
from mlpot.training.scales import Scales
from mlpot.training.settings import FitSettings, LossSettings, LossTerm
from mlpot.transfer.corresponding import fit_scales
from mlpot.transfer.donor import TransferReport, complete_donors, donate


class FineTuning(FitSettings):
    """Settings of a fit that starts from a donor and has few frames: short, energies light.

    Chosen on frames of ``ge_train`` outside the hold-out (docs/decisions.md).
    """

    epochs: int = Field(default=30, ge=0)
    batch_size: int = Field(default=2, ge=1)
    rate: float = Field(default=2e-3, gt=0.0)
    matrix_rate: float = Field(default=1e-2, gt=0.0)
    average: float = Field(default=0.98, ge=0.0, lt=1.0)
    loss: LossSettings = LossSettings(energy=LossTerm(weight=0.05, unit=0.01))


@dataclass(frozen=True)
class Carried:
    """A potential carried to its targets, with the scales of each; not yet fine-tuned."""

    model: Potential
    scales: dict[str, Scales]
    offset_residual: float | None
    report: TransferReport


def shift_offsets(model: Potential, frames: Sequence[Frame]) -> float:
    """Re-estimate the offsets so that energies of frames fit on average.

    Returns the root mean square of the energies left, eV/atom; see
    :func:`~mlpot.training.offsets.least_squares_offsets` for the errors.
    """
    model.offsets.zero_()
    interaction = torch.tensor([prediction.energy for prediction in model.predict(frames)])
    offsets, residual = least_squares_offsets(frames, model.elements, interaction.numpy())
    model.offsets.copy_(torch.as_tensor(offsets))
    return residual


def carry(
    donor: Potential,
    targets: Sequence[str],
    frames: Sequence[Frame] = (),
    donors: Mapping[str, str] | None = None,
    scales: Scales | Mapping[str, Scales] | None = None,
    replay: Sequence[Frame] = (),
) -> Carried:
    """Return a potential of the target elements before any gradient step ("zero-shot").

    Parameters
    ----------
    donor
        A trained potential; it is not changed.
    targets
        Chemical symbols of the new potential.
    frames
        Labelled frames of the targets: they fit the scales, unless given, and the offsets.
    donors
        Which known element serves which target; see
        :func:`~mlpot.transfer.donor.complete_donors`.
    scales
        Corresponding-states scalars relative to the donor's, of all targets or of each; fitted
        to forces and stresses of ``frames``, one pair for all targets, if not given.
    replay
        Frames of further elements that the donor knows: the new potential keeps them, each from
        itself, and these frames help to fit the offsets.

    Raises
    ------
    DataError
        If there are neither frames nor scales, frames contain other elements, or frames to
        replay contain a target.
    """
    complete_donors(donor.symbols, targets, donors)
    kept = _kept(donor, targets, frames, replay)
    if scales is None:
        if not frames:
            raise DataError(
                "no frames and no scales: give labelled frames, or lattice constants and cohesive energies."
            )
        model, report = donate(donor, targets, donors)
        scales = fit_scales(model, report.donors, frames)
    own = dict.fromkeys(targets, scales) if isinstance(scales, Scales) else dict(scales)
    own |= dict.fromkeys(kept, Scales(1.0, 1.0, "its own donor"))
    model, report = donate(donor, [*targets, *kept], donors)
    for row, symbol in enumerate(model.symbols):
        model.length_scales[row] *= own[symbol].length
        model.energy_scales[row] *= own[symbol].energy
    if any((pair.length, pair.energy) != (1.0, 1.0) for pair in own.values()):
        detail = "; ".join(
            f"{target}: length {pair.length:.4f}, energy {pair.energy:.4f} of the donor's: {pair.origin}"
            for target, pair in own.items()
        )
        report.mark("length_scales", "re-estimated", detail)
        report.mark("energy_scales", "re-estimated", detail)
    explained = min((pair.explained for pair in own.values() if pair.explained is not None), default=1.0)
    if explained < 0.5:
        report.notes.append(
            f"two scalars explain only {100 * explained:.0f} % of the mean square force: donor and "
            "target hardly correspond, or the donor is poor."
        )
    residual = None
    if any(frame.energy is not None for frame in frames):
        residual = shift_offsets(model, [*frames, *replay])
        report.mark(
            "offsets", "re-estimated", f"least squares on the frames, {1e3 * residual:.1f} meV/atom left"
        )
    else:
        report.notes.append(
            "offsets are the donor's: no frame has an energy, total energies are not comparable."
        )
    model.provenance = {
        "parent": _summary(donor),
        "transfer": {
            "donors": report.donors,
            "element_scales": {target: pair.asdict() for target, pair in own.items()},
        },
    }
    return Carried(model, own, residual, report)


def _kept(
    donor: Potential, targets: Sequence[str], frames: Sequence[Frame], replay: Sequence[Frame]
) -> list[str]:
    """Return the elements of the frames to replay; refuse elements that have no place."""
    strangers = sorted(set().union(*(frame.symbols for frame in frames)) - set(targets))
    if strangers:
        raise DataError(
            f"the frames contain {', '.join(strangers)}, which is not among the targets {list(targets)}."
        )
    kept = sorted(set().union(*(frame.symbols for frame in replay)))
    if twice := sorted(set(kept) & set(targets)):
        raise DataError(
            f"replay: its frames contain {', '.join(twice)}, which is also a target: one row of the tables "
            "cannot serve two theories; leave replay out, or, if the theory is one, add them to the data."
        )
    if unknown := sorted(set(kept) - set(donor.symbols)):
        raise DataError(f"replay: its frames contain {', '.join(unknown)}, which the donor does not know.")
    return kept


def _summary(donor: Potential) -> dict[str, Any]:
    return {"elements": list(donor.symbols), "provenance": donor.provenance}
