"""Public sets by name: what they are, where they are, and their frames on this disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mlpot import __version__
from mlpot.atomic import is_disk_full
from mlpot.data.download import Checksum, Received, download, download_json
from mlpot.data.files import count_labels, write_frames
from mlpot.data.frame import Frame
from mlpot.data.public import frames_sha256, mlearn_frames, pyxtal_frames, xyz_frames
from mlpot.data.section import LabelSection
from mlpot.errors import DataError
from mlpot.recipe import Recipe, parse_recipe, read_yaml

#: Folder, within that of the set, for the files as they were published.
SOURCE = "source"


class Source(Recipe):
    """A file as it is published.

    ``name``: under which it is kept; ``url``: fixed to a version; ``size``: bytes, where known and
    then checked; ``megabytes``: about how many, for people; ``checksum``: ``algorithm:digits`` as
    :class:`~mlpot.data.download.Checksum` takes them; ``listing``: address where GitHub lists the
    folder of this version, with the checksum of each file, for files of which we have none.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    url: str
    size: int | None = None
    megabytes: float | None = None
    checksum: str | None = None
    listing: str | None = None

    @field_validator("checksum")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        return text if text is None else str(Checksum.parse(text))


class DataFile(Recipe):
    """A file of frames that is made of one or several sources.

    ``split``: ``train`` or ``test``, where the set has a division of its own; ``layout``, with
    ``energy_below`` (eV/atom, pyxtal), ``labels`` and ``member`` (of a ZIP archive; xyz): see
    :mod:`mlpot.data.public`; ``frames``, ``atoms``: how many there must be; ``frames_sha256``: of the
    frames (:func:`~mlpot.data.public.frames_sha256`); ``on_request``: why this file comes only
    when its split is asked for by name.
    """

    name: str = Field(pattern=r"^[\w.-]+\.xyz$")
    elements: list[str] = Field(min_length=1)
    split: Literal["train", "test"] | None = None
    layout: Literal["mlearn", "pyxtal", "xyz"]
    sources: list[Source] = Field(min_length=1)
    energy_below: float | None = None
    labels: LabelSection = LabelSection()
    member: str | None = None
    frames: int | None = None
    atoms: int | None = None
    frames_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    on_request: str | None = None

    @model_validator(mode="after")
    def _verifiable(self) -> DataFile:
        for source in self.sources:
            if not (source.checksum or source.listing or self.frames_sha256):
                raise ValueError(f"{source.name} has no checksum, no listing and no frames_sha256")
        return self


class PublicSet(Recipe):
    """A public set: what it is, under which terms, and what to beware of."""

    title: str
    home: str
    licence: str
    citation: str
    traps: list[str] = Field(default=[])
    files: list[DataFile] = Field(min_length=1)


class _Catalogue(Recipe):
    sets: dict[str, PublicSet] = Field(min_length=1)


@dataclass(frozen=True)
class Fetched:
    """A file of frames that was made, and of what.

    Attributes
    ----------
    path
        Extended XYZ with labels under their default names.
    frames, atoms
        How many.
    labels
        How many frames carry energy, forces, stress.
    sources
        Name, address, SHA-256 and bytes of each published file, whether it was downloaded now, and
        by what it was verified.
    """

    path: Path
    frames: int
    atoms: int
    labels: dict[str, int]
    sources: list[dict[str, Any]]


def catalogue(path: str | Path | None = None) -> dict[str, PublicSet]:
    """Return the public sets by name, from mlpot's own catalogue or another of the same layout.

    Raises
    ------
    RecipeError
        If the catalogue is missing or wrong.
    """
    own = str(files("mlpot.data") / "sources.yaml")
    return parse_recipe(_Catalogue, read_yaml(path or own), str(path or own)).sets


def choose(
    name: str,
    sets: dict[str, PublicSet],
    elements: Sequence[str] = (),
    splits: Sequence[str] = (),
) -> tuple[list[DataFile], list[DataFile]]:
    """Return the files of a set that are asked for, and those left out until asked for by their split.

    Parameters
    ----------
    name
        Of the set.
    sets
        See :func:`catalogue`.
    elements, splits
        Which files; empty: all.

    Raises
    ------
    DataError
        If there is no such set, or it has no such file.
    """
    if name not in sets:
        close = get_close_matches(name, sets, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sets)}."
        raise DataError(f"there is no public set {name!r}; {hint}")
    matching = [
        file
        for file in sets[name].files
        if (not elements or set(elements) & set(file.elements)) and (not splits or file.split in splits)
    ]
    if not matching:
        there = "; ".join(
            f"{file.name} ({', '.join([*file.elements, *([file.split] if file.split else [])])})"
            for file in sets[name].files
        )
        wanted = ", ".join([*elements, *splits])
        raise DataError(f"{name}: has no file for {wanted}; it has {there}.")
    held = [file for file in matching if file.on_request and not splits]
    return [file for file in matching if file not in held], held


def fetch(
    name: str,
    about: PublicSet,
    file: DataFile,
    out: str | Path,
    update: Received | None = None,
    pause: float = 1.0,
) -> Fetched:
    """Download what a file of frames is made of, verify it, and write the frames.

    Parameters
    ----------
    name, about
        The set.
    file
        Which of its files; see :func:`choose`.
    out
        Folder; published files go to its ``source/``. Frames of an earlier call are replaced.
    update
        Told of the bytes that are there and will be.
    pause
        Seconds before the second attempt at a download.

    Returns
    -------
    Fetched
        The frames and the verified sources. Provenance is noted next to the frames.

    Raises
    ------
    DataError
        See :func:`~mlpot.data.download.download`; if the frames are not those of the catalogue
        (the published files without a checksum of their own are removed then), or the disk is full.
    """
    out = Path(out)
    told, paths, unverified = [], [], []
    for source in file.sources:
        path = out / SOURCE / source.name
        checksum = Checksum.parse(source.checksum) if source.checksum else None
        if checksum is None and file.frames_sha256 is None and source.listing is not None:
            checksum = _listed(source, pause)
        came = download(source.url, path, checksum, source.size, update, pause)
        paths.append(path)
        if checksum is None:
            unverified.append(path)
        with open(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        told.append(
            {
                "name": source.name,
                "url": source.url,
                "bytes": path.stat().st_size,
                "sha256": digest,
                "downloaded": came,
                "verified_by": str(checksum) if checksum else f"frames_sha256:{file.frames_sha256}",
            }
        )
    frames = _frames(file, paths, unverified)
    provenance = {
        "set": name,
        "file": file.name,
        "title": about.title,
        "home": about.home,
        "licence": about.licence,
        "citation": about.citation,
        "sources": [{key: source[key] for key in ("name", "url", "sha256")} for source in told],
        "mlpot": __version__,
    }
    try:
        write_frames(out / file.name, frames, provenance=provenance)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DataError(f"{out / file.name}: the disk is full; free some space and run again.") from None
    return Fetched(out / file.name, len(frames), sum(map(len, frames)), count_labels(frames), told)


def _frames(file: DataFile, paths: list[Path], unverified: list[Path]) -> list[Frame]:
    """Read the frames; published files that prove wrong, and had nothing else to prove, are removed."""
    try:
        frames = _read(file, paths)
        _compare(file, frames)
    except DataError as error:
        if not unverified:
            raise
        for path in unverified:
            path.unlink(missing_ok=True)
        raise DataError(
            f"{str(error).rstrip('.')}. What was downloaded without a checksum of its own was removed "
            f"({', '.join(map(str, unverified))}). Run the command again; if this persists, the file was "
            "changed at its source or on its way: do not use it, and tell the maintainers."
        ) from error
    return frames


def _read(file: DataFile, paths: list[Path]) -> list[Frame]:
    match file.layout:
        case "mlearn":
            return [frame for path in paths for frame in mlearn_frames(path, file.split or "train")]
        case "pyxtal":
            return pyxtal_frames(paths, file.energy_below)
        case "xyz":
            return [frame for path in paths for frame in xyz_frames(path, file.labels.keys(), file.member)]


def _compare(file: DataFile, frames: list[Frame]) -> None:
    """Hold the frames against the catalogue."""
    found: dict[str, int | str] = {"frames": len(frames), "atoms": sum(map(len, frames))}
    if file.frames_sha256 is not None:
        found["frames_sha256"] = frames_sha256(frames)
    for key, value in found.items():
        if (expected := getattr(file, key)) is not None and value != expected:
            raise DataError(f"{file.name}: {key} is {value} where the catalogue says {expected}.")


def _listed(source: Source, pause: float) -> Checksum:
    """Return the checksum of a file that GitHub lists for the version that the address names."""
    assert source.listing is not None
    wanted = source.url.rsplit("/", 1)[-1]
    try:
        (entry,) = [entry for entry in download_json(source.listing, pause) if entry["name"] == wanted]
        return Checksum.parse(f"git-blob:{entry['sha']}")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{source.listing}: does not list {wanted} with its checksum ({error}).") from None
