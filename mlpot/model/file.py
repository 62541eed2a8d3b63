r"""Model files: one ``.safetensors`` file that holds a whole potential and can prove it.

Next to the tensors of ``Potential.state_dict()``, each in the precision it has, the metadata
of the file keep one JSON header under the key ``mlpot``:

=======================  ====================================================================
``format_version``       number of this layout
``architecture``         ``{network: NetworkConfig.asdict(), repulsion: bool}``
``elements``             chemical symbols, in the order of the element tables
``offsets`` ...          with ``energy_scales``, ``length_scales`` (per element) and
                         ``energy_unit``: copies to read; the tensors rule
``precision``            of the network, ``float32`` or ``float64``
``provenance``           what the maker noted, as it was given
``versions``             of the packages that wrote the file
``self_test``            structures with the energy, forces and stress of the saved model
``checksum``             SHA-256 over the header without it, and every tensor's name, type,
                         shape and bytes
=======================  ====================================================================

A potential with an uncertainty has one more tensor, ``head_deviations``, which makes its file one
of format 2; without, files are written in format 1, as ever.

Nothing in a model file is ever executed (no pickle).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii
from safetensors import SafetensorError, deserialize
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

import mlpot
from mlpot.atomic import replacing
from mlpot.errors import ModelFileError, RecipeError
from mlpot.model.head import head_size
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential

Header = dict[str, Any]

#: The newest layout. A change that old code cannot read gets the next number.
FORMAT_VERSION = 2

#: From each older version to the next: (header, tensors) to (header, tensors).
UPGRADES: dict[int, Callable[[Header, dict[str, Tensor]], tuple[Header, dict[str, Tensor]]]] = {
    1: lambda header, tensors: (header, tensors),  # what format 2 may have more
}

#: How far the self-test may deviate, per precision of the file: absolute (eV, eV/Å, eV/Å³) and
#: relative to the largest number of a kind (energies without their offsets); the larger counts.
#: float32: summation orders of other processors and libraries show at 1e-5, what would spoil a
#: simulation begins well above 1e-3. float64: the same rounding, nine digits further down.
SELF_TEST_TOLERANCE = {"float32": (1e-4, 1e-3), "float64": (1e-8, 1e-8)}

_KEY = "mlpot"
_SUFFIX = ".safetensors"
_PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
_DEVIATIONS = "head_deviations"
_SCALARS = ("offsets", "energy_scales", "length_scales", "energy_unit")


def save_model(potential: Potential, path: str | Path, self_test: Sequence[Atoms] | None = None) -> None:
    """Write a potential into one file, whole or not at all.

    Parameters
    ----------
    potential
        Its tensors keep their precision; its ``provenance`` must be JSON values.
    path
        Ends in ``.safetensors``; an existing file is replaced.
    self_test
        Structures on which :func:`load_model` checks that it computes what the saved model
        computed. Default: a rattled diamond cell of the first element, and clusters in which
        every element occurs.

    Raises
    ------
    ModelFileError
        For another suffix, adapters that are not merged, tensors or predictions that are not
        finite, or provenance that is not JSON.
    """
    path = Path(path)
    if path.suffix != _SUFFIX:
        raise ModelFileError(f"{path}: a model file ends in {_SUFFIX}; name it {path.name}{_SUFFIX}.")
    tensors = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in potential.state_dict().items()
    }
    if any(".parametrizations." in name for name in tensors):
        raise ModelFileError(
            f"{path}: the model was not saved, it carries adapters; merge them first "
            "(mlpot.training.weights.merge)."
        )
    if potential.head_deviations is not None:
        tensors[_DEVIATIONS] = potential.head_deviations.detach().cpu().double().contiguous().clone()
    spoilt = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if spoilt:
        raise ModelFileError(
            f"{path}: the model was not saved, NaN or infinity in {', '.join(spoilt)}; the training has "
            "diverged: lower the learning rate or go back to an earlier checkpoint."
        )
    header: Header = {
        "format_version": 2 if _DEVIATIONS in tensors else 1,
        "architecture": {
            "network": potential.config.asdict(),
            "repulsion": potential.repulsion is not None,
        },
        "elements": list(potential.symbols),
        **{name: tensors[name].tolist() for name in _SCALARS},
        "precision": str(potential.dtype).removeprefix("torch."),
        "provenance": potential.provenance,
        "versions": _versions(),
        "self_test": _run_self_test(potential, self_test or _default_structures(potential.symbols), path),
    }
    _write(path, header, tensors, "the model was not saved, its provenance is")


def amend_provenance(path: str | Path, entries: dict[str, Any]) -> None:
    """Set entries of the provenance of a model file; tensors and self-test stay as they are.

    Raises
    ------
    ModelFileError
        If the file is no whole model file, or the entries are not plain JSON.
    """
    path = Path(path)
    header, data = _read(path)
    header["provenance"] = {**header["provenance"], **entries}
    _write(path, header, load_tensors(data), "not amended, the entries are")


def load_model(
    path_or_name: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Potential:
    """Return the potential of a model file, verified.

    Parameters
    ----------
    path_or_name
        A model file, or the name of a shipped model (``"si"``).
    dtype
        Precision of the network, ``torch.float32`` or ``torch.float64``. The physical scalars
        stay in float64; a float64 file loaded as float32 is rounded after its self-test.
    device
        Where the tensors go.

    Raises
    ------
    ModelFileError
        If there is no such file or name; if the file is no model file, damaged, altered, or of
        a newer format; if its tensors do not fit its architecture; if the model computes
        something else here than where it was saved.
    RecipeError
        For another ``dtype``.
    """
    if dtype not in _PRECISIONS.values():
        raise RecipeError(f"a model runs in torch.float32 or torch.float64, not in {dtype}.")
    path = find_model(path_or_name)
    header, data = _read(path)
    tensors = load_tensors(data)
    for version in range(header["format_version"], FORMAT_VERSION):
        if version not in UPGRADES:
            raise ModelFileError(
                f"{path}: format {version} of model files is no longer read; train the model again."
            )
        header, tensors = UPGRADES[version](header, tensors)
    try:
        potential = Potential(
            header["elements"],
            NetworkConfig(**header["architecture"]["network"]),
            repulsion=header["architecture"]["repulsion"],
            provenance=header["provenance"],
        ).to(_PRECISIONS[header["precision"]])
        self_test = header["self_test"]
    except (KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path}: the header describes no potential that mlpot {mlpot.__version__} knows ({error})."
        ) from None
    deviations = tensors.pop(_DEVIATIONS, None)
    _fill(potential, tensors, path)
    if deviations is not None:
        potential.head_deviations = _checked(deviations, potential, path)
    _check_self_test(potential, self_test, header, path)
    return potential.to(device=device, dtype=dtype)


def read_header(path_or_name: str | Path) -> dict[str, Any]:
    """Return the header of a model file as it was written, its checksum verified.

    No model is built and no self-test computed. The entries are those of the module's
    documentation, whatever the format version.

    Raises
    ------
    ModelFileError
        If there is no such file or name, or the file is no model file, damaged, altered, or of
        a newer format.
    """
    return _read(find_model(path_or_name))[0]


def shipped_models() -> list[str]:
    """Return the names of the models that come with mlpot."""
    return sorted(path.stem for path in _shipped_folder().glob(f"*{_SUFFIX}"))


def find_model(path_or_name: str | Path) -> Path:
    """Return the path of a model file, given that path or the name of a shipped model.

    Raises
    ------
    ModelFileError
        If there is neither; the message lists the shipped models.
    """
    path = Path(path_or_name)
    if path.is_file():
        return path
    names = shipped_models()
    if str(path_or_name) in names:
        return _shipped_folder() / f"{path_or_name}{_SUFFIX}"
    if path.is_dir():
        raise ModelFileError(f"{path}: this is a folder; say which file, e.g. {path / 'model.safetensors'}.")
    known = f"models shipped with mlpot: {', '.join(names) or 'none'}"
    if path.suffix or len(path.parts) != 1:
        raise ModelFileError(
            f"{path}: there is no such file; check the path (relative to {Path.cwd()}), or use a name "
            f"({known})."
        )
    raise ModelFileError(f"{path}: neither a file nor a shipped model ({known}).")


def _shipped_folder() -> Path:
    return Path(str(resources.files("mlpot"))) / "models"


# --- the file -------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in ("torch", "e3nn", "ase")}
    return {"mlpot": mlpot.__version__, **packages}


def _write(path: Path, header: Header, tensors: dict[str, Tensor], refused: str) -> None:
    """Write a file, whole or not at all; ``refused`` begins the sentence on a header that is no JSON."""
    try:
        header["checksum"] = _checksum(header, save_tensors(tensors))
        text = _canonical(header)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: {refused} not plain JSON: {error}.") from None
    with replacing(path) as partial:
        partial.write_bytes(save_tensors(tensors, metadata={_KEY: text}))


def _canonical(header: Header) -> str:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _checksum(header: Header, data: bytes) -> str:
    """Return the SHA-256 of a header (without its checksum) and of serialised tensors."""
    digest = hashlib.sha256(_canonical({k: v for k, v in header.items() if k != "checksum"}).encode())
    for name, entry in sorted(deserialize(data)):
        digest.update(f"\n{name} {entry['dtype']} {list(entry['shape'])}\n".encode())
        digest.update(entry["data"])
    return digest.hexdigest()


def _read(path: Path) -> tuple[Header, bytes]:
    """Return the verified header of a file and all its bytes."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}.") from None
    try:
        deserialize(data)
        # The format: eight bytes of length, then JSON with a place for metadata.
        notes = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not a safetensors file, or cut off ({error}); copy, download or train it again."
        ) from None
    if _KEY not in notes:
        raise ModelFileError(
            f"{path}: a safetensors file, but not a model of mlpot (no header {_KEY!r} in its metadata)."
        )
    damaged = ModelFileError(f"{path}: the file was altered or damaged; download or train it again.")
    try:
        header = json.loads(notes[_KEY])
        version = header["format_version"]
    except (ValueError, TypeError, KeyError):
        raise damaged from None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: format {version} needs a newer mlpot than {mlpot.__version__}, which reads up to "
            f"{FORMAT_VERSION} (pip install -U mlpot)."
        )
    # The text itself must be canonical, so that not even a digit without effect can change.
    if notes[_KEY] != _canonical(header) or header.get("checksum") != _checksum(header, data):
        raise damaged
    return header, data


def _fill(potential: Potential, tensors: dict[str, Tensor], path: Path) -> None:
    expected = potential.state_dict()
    problems = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - expected.keys()),
        "of another shape or precision": sorted(
            name
            for name in expected.keys() & tensors.keys()
            if (expected[name].shape, expected[name].dtype) != (tensors[name].shape, tensors[name].dtype)
        ),
    }
    if any(problems.values()):
        found = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
        raise ModelFileError(f"{path}: the tensors do not fit the architecture of the header ({found}).")
    potential.load_state_dict(tensors)


def _checked(deviations: Tensor, potential: Potential, path: Path) -> Tensor:
    width = head_size(potential.config) + len(potential.elements)
    if deviations.ndim != 2 or deviations.shape[1] != width or deviations.dtype != torch.float64:
        raise ModelFileError(
            f"{path}: {_DEVIATIONS} has shape {tuple(deviations.shape)}, the head has {width} numbers; make "
            "the uncertainty again with mlpot calibrate."
        )
    return deviations


# --- the self-test --------------------------------------------------------------------------


def _default_structures(symbols: Sequence[str]) -> list[Atoms]:
    """Return a crystal and clusters off every symmetry, with bonds near their natural lengths."""
    rng = np.random.default_rng(0)
    bond = 2.1 * covalent_radii[atomic_numbers[symbols[0]]]
    crystal = bulk(symbols[0], "diamond", a=4.0 / np.sqrt(3.0) * bond, cubic=True)
    crystal.positions += rng.normal(scale=0.03 * bond, size=(8, 3))
    structures = [crystal]
    # A bipyramid of unit bonds whose lower apex is pushed into the range of the repulsion.
    bipyramid = np.array(
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, np.sqrt(0.75), 0.0]]
        + [[0.5, np.sqrt(1.0 / 12.0), height] for height in (np.sqrt(2.0 / 3.0), -0.4)]
    )
    for start in range(0, len(symbols), 5):
        members = [symbols[(start + i) % len(symbols)] for i in range(5)]
        bond = 2.1 * max(covalent_radii[atomic_numbers[symbol]] for symbol in members)
        positions = bond * (bipyramid + rng.normal(scale=0.03, size=(5, 3)))
        structures.append(Atoms(members, positions=positions))
    return structures


def _run_self_test(potential: Potential, structures: Sequence[Atoms], path: Path) -> list[Header]:
    entries = []
    for index, (atoms, prediction) in enumerate(zip(structures, potential.predict(structures), strict=True)):
        periodic = bool(np.isfinite(prediction.stress).all())
        if not (np.isfinite(prediction.energy) and np.isfinite(prediction.forces).all()):
            raise ModelFileError(
                f"{path}: the model was not saved, its energy or forces of self-test structure {index} "
                f"({atoms.get_chemical_formula()}) are not finite."
            )
        entries.append(
            {
                "numbers": atoms.numbers.tolist(),
                "positions": atoms.positions.tolist(),
                "cell": atoms.cell.array.tolist(),
                "pbc": atoms.pbc.tolist(),
                "energy": prediction.energy,
                "forces": prediction.forces.tolist(),
                "stress": prediction.stress.tolist() if periodic else None,
            }
        )
    return entries


def _check_self_test(potential: Potential, entries: Sequence[Header], header: Header, path: Path) -> None:
    absolute, relative = SELF_TEST_TOLERANCE[header["precision"]]
    structures = [
        Atoms(entry["numbers"], positions=entry["positions"], cell=entry["cell"], pbc=entry["pbc"])
        for entry in entries
    ]
    for index, (entry, now) in enumerate(zip(entries, potential.predict(structures), strict=True)):
        offset = float(potential.offsets[potential.species(torch.tensor(entry["numbers"]))].sum())
        pairs = [
            ("energy", "eV", entry["energy"] - offset, now.energy - offset),
            ("forces", "eV/Å", entry["forces"], now.forces),
        ]
        if entry["stress"] is not None:
            pairs.append(("stress", "eV/Å³", entry["stress"], now.stress))
        for what, unit, old, new in pairs:
            allowed = max(absolute, relative * float(np.abs(old).max()))
            deviation = float(np.abs(np.asarray(new) - np.asarray(old)).max())
            if not deviation <= allowed:
                formula = structures[index].get_chemical_formula()
                raise ModelFileError(
                    f"{path}: self-test failed: {what} of structure {index} ({formula}) deviate by "
                    f"{deviation:.2g} {unit} from the saved model (allowed: {allowed:.2g}). Saved with "
                    f"{_list(header['versions'])}; loaded with {_list(_versions())}: use the versions it was "
                    "saved with, or train it again."
                )


def _list(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
