"""Pseudopotentials (and PAW datasets) by name and SHA-256: another file would give other labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from mlpot.errors import ElementError, MLPotError
from mlpot.recipe import Recipe


class PseudopotentialError(MLPotError):
    """A pseudopotential that is missing or is not the one of the recipe."""


class Pseudopotential(Recipe):
    """A file of a pseudopotential.

    ``file``: its name, looked for where the code looks. ``sha256``: of the file
    (``sha256sum FILE``).
    """

    file: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


def refuse_unknown(elements: Iterable[str], known: Mapping[str, object], key: str) -> None:
    """Refuse elements for which a recipe has no entry.

    Raises
    ------
    ElementError
        Naming the elements and the key of the recipe.
    """
    if missing := sorted(set(elements) - set(known)):
        raise ElementError(
            f"{key} has no entry for {', '.join(missing)}, only for {', '.join(sorted(known))}; "
            "add one, or remove the frames with these elements."
        )


def verified(choice: Pseudopotential, folders: Sequence[Path], symbol: str, remedy: str) -> Path:
    """Return the path of a pseudopotential, its content verified.

    Parameters
    ----------
    choice
        Name and hash.
    folders
        Where it is looked for, in this order.
    symbol
        The element, for messages.
    remedy
        What to do if it is in none of them; ends the message.

    Raises
    ------
    PseudopotentialError
        If no folder has it, or its content is another.
    """
    for folder in folders:
        path = folder / choice.file
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest != choice.sha256:
                raise PseudopotentialError(
                    f"{path}: its SHA-256 is {digest}, the recipe asks for {choice.sha256}: another version "
                    f"of {choice.file} gives other labels. Install the one of the recipe, or change "
                    f"method.pseudopotentials.{symbol}.sha256 and label all frames anew."
                )
            return path
    where = ", ".join(map(str, folders)) or "no folder"
    raise PseudopotentialError(f"{choice.file}, the pseudopotential of {symbol}, is not in {where}; {remedy}")
