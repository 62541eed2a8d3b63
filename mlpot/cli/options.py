"""Options that several commands share, and how flags override a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mlpot.errors import RecipeError


class Missing(StrEnum):
    """What a missing label means."""

    error = "error"
    allow = "allow"


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else there.")
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Model file, or the name of a shipped model.")]
Committee = Annotated[
    list[str] | None,
    typer.Option(
        "--committee",
        metavar="MODEL",
        help="Further potential, of another seed: the mean is taken; may be repeated.",
    ),
]
Uncertainty = Annotated[
    bool, typer.Option("--uncertainty", help="Also predicted standard deviations of energies and forces.")
]
LargestDeviation = Annotated[
    float | None,
    typer.Option(
        metavar="EV/A",
        help="Stop where the predicted standard deviation of a force exceeds this; needs an uncertainty.",
    ),
]
Structure = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="Starting structure, any format of ASE; of several the first, or the one named by FILE@INDEX.",
    ),
]
Supercell = Annotated[
    tuple[int, int, int], typer.Option(metavar="A B C", help="Repeats along the lattice vectors.")
]
Timestep = Annotated[float, typer.Option(metavar="FS", help="Time step, fs.")]
Friction = Annotated[float, typer.Option(metavar="RATE", help="Coupling to the heat bath, 1/ps.")]
RunDirectory = Annotated[Path, typer.Option(metavar="DIR", help="Run directory.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the interrupted run in --out.")]
Epochs = Annotated[int | None, typer.Option(metavar="N", help="Passes over the training frames.")]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Of weights, order of batches, and the drawing of frames; the hold-out stays the same.",
    ),
]
Frames = Annotated[
    int | None, typer.Option(metavar="N", help="Train on N frames drawn from those not held out.")
]
EnergyKey = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the energy in the files. \\[REF_energy]")
]
ForcesKey = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the forces in the files. \\[REF_forces]")
]
StressKey = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the stress in the files. \\[REF_stress]")
]
MissingLabels = Annotated[
    Missing | None, typer.Option(help="Whether a frame may lack a label. \\[error]", show_choices=True)
]


def label_changes(
    energy: str | None, forces: str | None, stress: str | None, missing: Missing | None
) -> dict[str, Any]:
    """Return the flags on labels as changes of a ``labels`` section."""
    names = {"energy": energy, "forces": forces, "stress": stress}
    return names | {"missing": missing.value if missing is not None else None}


def override(recipe: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with dotted keys set where a flag was given (is not ``None``).

    Raises
    ------
    RecipeError
        If the recipe holds a plain value where a section is expected.
    """
    changed = dict(recipe)
    for dotted, value in changes.items():
        if value is None:
            continue
        section = changed
        *path, key = dotted.split(".")
        for part in path:
            inner = section.get(part)
            if inner is not None and not isinstance(inner, dict):
                raise RecipeError(f"{part}: expected a section of keys in the recipe, got {inner!r}.")
            section[part] = dict(inner or {})
            section = section[part]
        section[key] = value
    return changed


def spread(arguments: Sequence[str], option: str) -> list[str]:
    """Return arguments in which ``option 1 2 3`` reads ``option 1 option 2 option 3``.

    Only numbers are taken after the first value, so that positional arguments may follow.
    """
    result: list[str] = []
    since = -1  # values after the option; -1: not within it
    for argument in arguments:
        if argument == option:
            since = 0
        elif since == 0:
            since = 1
        elif since > 0 and _is_number(argument):
            result.append(option)
        else:
            since = -1
        result.append(argument)
    return result


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class SeveralTemperatures(TyperCommand):
    """A command whose ``--temperatures`` takes several values at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse (called by Typer)."""
        return super().parse_args(ctx, spread(args, "--temperatures"))
