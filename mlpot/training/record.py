"""What a model file says of its own worth: errors on named frames, and what the training frames cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import mlpot
from mlpot.data.frame import Frame
from mlpot.data.neighbours import find_neighbours
from mlpot.data.section import count_atoms
from mlpot.data.store import StoredFrames
from mlpot.model.file import amend_provenance, read_header
from mlpot.training.errors import ErrorSummary, group_frames

#: Shortest distances are looked for up to here, Å.
_REACH = 6.0
#: So many streamed frames are looked at.
_SAMPLE = 2000


def domain(frames: Sequence[Frame], keys: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Return what frames cover: of all, of each element and of each group (values of ``keys``).

    Returns
    -------
    dict
        Per name of :func:`~mlpot.training.errors.group_frames`: ``frames``, ``atoms``,
        ``volume_per_atom`` (smallest and largest of the periodic frames, Å³, vacuum included;
        ``None`` without any) and ``shortest_distance`` (Å; ``None`` if none is below 6 Å). Of
        streamed frames only ``"all"`` is told, the last two from ``sampled`` frames.
    """
    if isinstance(frames, StoredFrames):
        some = np.random.default_rng(0).permutation(len(frames))[:_SAMPLE]
        sampled = domain(list(frames.select(some)))["all"]
        whole = {"frames": len(frames), "atoms": count_atoms(frames), "sampled": len(some)}
        return {"all": sampled | whole}
    volumes = [frame.volume / len(frame) if frame.pbc.all() else np.nan for frame in frames]
    distances = [_shortest_distance(frame) for frame in frames]
    covered = {}
    for name, members in group_frames(frames, keys).items():
        sizes = [volumes[i] for i in members if np.isfinite(volumes[i])]
        shortest = min((distances[i] for i in members), default=np.inf)
        covered[name] = {
            "frames": len(members),
            "atoms": sum(len(frames[i]) for i in members),
            "volume_per_atom": [min(sizes), max(sizes)] if sizes else None,
            "shortest_distance": shortest if np.isfinite(shortest) else None,
        }
    return covered


def _shortest_distance(frame: Frame) -> float:
    pairs = find_neighbours(frame.positions, frame.cell, frame.pbc, _REACH, frame.source)
    bonds = pairs.vectors(frame.positions, frame.cell)
    return float(np.linalg.norm(bonds, axis=1).min()) if len(bonds) else np.inf


def error_record(
    name: str,
    use: str,
    frames: Sequence[Frame],
    files: Mapping[str, str],
    keys: Sequence[str],
    errors: Mapping[str, ErrorSummary],
) -> dict[str, Any]:
    """Return errors with what they were computed on, when and by which version.

    Parameters
    ----------
    name
        Of the set of frames, such as ``validation``.
    use
        What they were to the model: held out of its training, known to it, ...
    frames
        The frames; their ``source`` says from which file each was read.
    files
        SHA-256 of files by path; those that the frames come from are noted.
    keys
        Info keys that the errors are grouped by.
    errors
        Of all frames and of each group.
    """
    sources = {frame.source.rpartition("#")[0] for frame in frames}
    return {
        "name": name,
        "use": use,
        "files": {path: digest for path, digest in files.items() if str(Path(path)) in sources},
        "group_by": list(keys),
        "date": datetime.now(UTC).date().isoformat(),
        "mlpot": mlpot.__version__,
        "errors": {group: summary.asdict() for group, summary in errors.items()},
    }


def relation(provenance: Mapping[str, Any], digest: str) -> str:
    """Return what a file of frames, by its SHA-256, was to the making of a model."""
    stage: Mapping[str, Any] | None = provenance
    while stage is not None:
        if digest in (stage.get("data") or {}).values():
            return "a file that was trained on or held out in training, in whole or in part"
        stage = stage.get("parent", {}).get("provenance")
    return "a file that had no part in training"


def record_errors(path: str | Path, record: dict[str, Any]) -> None:
    """Add errors to those a model file holds; they replace a record of the same name.

    Raises
    ------
    ModelFileError
        If the file is no whole model file.
    """
    held = read_header(path)["provenance"].get("errors", [])
    others = [entry for entry in held if entry["name"] != record["name"]]
    amend_provenance(path, {"errors": [*others, record]})
