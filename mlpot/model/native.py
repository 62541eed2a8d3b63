"""The kernels in C++, compiled on demand by the system's compiler: a faster twin for CPUs.

:mod:`mlpot.model.kernels` computes the same in PyTorch. The sources are compiled once for a
processor, by ``$CXX`` or the first of g++, clang++ and c++, into ``$XDG_CACHE_HOME/mlpot`` (or
``~/.cache/mlpot``), in some seconds, and loaded with ctypes; they need no headers but the
compiler's own. The gradient of a loss is in :mod:`mlpot.model.native_training`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mlpot.errors import NativeError, NoCompilerError
from mlpot.model.angular import degrees, harmonic_steps
from mlpot.model.environment import Bonds
from mlpot.model.inference import PackedWeights
from mlpot.model.kernels import LayerWeights
from mlpot.model.network import DensityNetwork, NetworkConfig

SOURCES = tuple(Path(__file__).with_name(name) for name in ("native.cpp", "native_training.cpp"))
HEADER = Path(__file__).with_name("native_common.h")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
#: Tried in turn: not every compiler has OpenMP; without it there is one thread.
THREADING = (("-fopenmp",), ())
DTYPES = {torch.float32: "float", torch.float64: "double"}
#: native.cpp holds the harmonics of one bond in an array of this many degrees.
LARGEST_DEGREE = 15

_memory = threading.local()


# -- build ------------------------------------------------------------------------------------------


def compiler() -> list[str]:
    """Return the command of the C++ compiler.

    Raises
    ------
    NoCompilerError
        If there is none.
    """
    chosen = os.environ.get("CXX")
    candidates = [shlex.split(chosen)] if chosen else [["g++"], ["clang++"], ["c++"]]
    for command in candidates:
        if command and shutil.which(command[0]):
            return command
    raise NoCompilerError(
        "the native kernels need a C++ compiler; there is none: "
        + (f"CXX={chosen} was not found." if chosen else "install g++ or clang++, or name one in CXX.")
    )


def cache_folder() -> Path:
    """Return the folder of compiled kernels."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mlpot"


def build() -> Path:
    """Return the compiled kernels, compiling them if that has not been done on this processor.

    Raises
    ------
    NativeError
        Without a compiler, if compiling fails, or if the cache cannot be written.
    """
    command = compiler()
    version = subprocess.run([*command, "--version"], capture_output=True, text=True).stdout
    texts = [path.read_text(encoding="utf-8") for path in (HEADER, *SOURCES)]
    facts = (texts, FLAGS, THREADING, command, version, _processor())
    name = f"native-{hashlib.sha256(repr(facts).encode()).hexdigest()[:20]}.so"
    folder = cache_folder()
    library = folder / name
    if library.exists():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            made = Path(temporary) / name
            _compile(command, made)
            os.replace(made, library)
    except OSError as error:
        raise NativeError(
            f"the native kernels cannot be built in {folder}: {error.strerror or error}. "
            "Name a folder that can be written in XDG_CACHE_HOME."
        ) from error
    return library


def _compile(command: list[str], target: Path) -> None:
    said = ""
    for flags in THREADING:
        process = subprocess.run(
            [*command, *FLAGS, *flags, *map(str, SOURCES), "-o", str(target)], capture_output=True, text=True
        )
        if process.returncode == 0:
            return
        said = process.stderr
    lines = said.strip().splitlines() or [f"exit status {process.returncode}"]
    first = next((line for line in lines if "error" in line), lines[0])
    raise NativeError(f"{shlex.join(command)} cannot compile the native kernels: {first.strip()}")


def _processor() -> str:
    """Return what ``-march=native`` depends on."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return f"{platform.machine()} {platform.processor()}"
    lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(sorted({x for x in lines if x.startswith(("model name", "flags", "Features", "CPU p"))}))


@cache
def _outcome() -> ctypes.CDLL | NativeError:
    try:
        library = ctypes.CDLL(str(build()))
    except (OSError, RuntimeError) as error:
        # RuntimeError: no home to keep a cache in.
        return NativeError(f"the native kernels cannot be loaded: {error}")
    except NativeError as error:
        return error
    library.mlpot_lanes.restype = ctypes.c_int64
    library.mlpot_lanes.argtypes = [ctypes.c_int64]
    for name in DTYPES.values():
        for what in ("evaluate", "train"):
            function = getattr(library, f"mlpot_{what}_{name}")
            function.restype = ctypes.c_int64
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    return library


def load_library() -> ctypes.CDLL:
    """Return the compiled kernels; tried once per process.

    Raises
    ------
    NativeError
        If there are none, saying what is missing.
    """
    outcome = _outcome()
    if isinstance(outcome, NativeError):
        raise outcome
    return outcome


def supports(config: NetworkConfig) -> bool:
    """Return whether the kernels compute such a network."""
    return config.l_max <= LARGEST_DEGREE


def supports_bonds(vectors: Tensor) -> bool:
    """Return whether they take such bond vectors."""
    return vectors.device.type == "cpu" and vectors.dtype in DTYPES


# -- weights ----------------------------------------------------------------------------------------

#: Members of ``Weights`` in native.cpp, in order.
MEMBERS = (
    "density", "density_back", "radial", "radial_back", "factors", "factors_back", "emit", "emit_back",
    "centre", "even", "odd", "project_even", "project_odd", "scalars", "scalars_back", "outer",
    "outer_back", "readout", "readout_back", "readout_outer", "update", "update_back", "points",
)  # fmt: skip


def _padded(tensor: Tensor, *shape: int) -> Tensor:
    """Return a copy with zeros at the ends of its axes."""
    widths = [n for old, new in zip(tensor.shape[::-1], shape[::-1], strict=True) for n in (0, new - old)]
    return functional.pad(tensor.detach(), widths).contiguous()


def _halves(weights: LayerWeights) -> dict[str, Tensor]:
    """Return evaluation and projection on one half of the grid, split into even and odd degrees."""
    evaluate, project = weights.evaluate, weights.project
    l_max, l_out = round(evaluate.shape[1] ** 0.5) - 1, round(len(project) ** 0.5) - 1
    odd, odd_out = degrees(l_max) % 2 == 1, degrees(l_out) % 2 == 1
    # Of p and -p the one whose first component that is not zero is positive.
    signs = torch.where(evaluate[:, 1:4].abs() > 1e-4, evaluate[:, 1:4].sign(), 0.0)
    half = torch.nonzero(signs @ signs.new_tensor([4.0, 2.0, 1.0]) > 0)[:, 0]
    if 2 * len(half) != len(evaluate):
        raise AssertionError("the grid has no inversion")
    return {
        "even": evaluate[half][:, ~odd].contiguous(),
        "odd": evaluate[half][:, odd].contiguous(),
        "project_even": (2.0 * project[~odd_out][:, half]).contiguous(),
        "project_odd": (2.0 * project[odd_out][:, half]).contiguous(),
        "points": torch.tensor([len(half)]),
    }


def pack(weights: LayerWeights, config: NetworkConfig, elements: int, lanes: int) -> dict[str, Tensor]:
    """Return the weights of a layer as native.cpp reads them, by the names of :data:`MEMBERS`."""
    c, r, h, nl = config.channels, config.radial, config.hidden, config.l_max + 1
    cp, rp, hp = (-(-width // lanes) * lanes for width in (c, r, h))
    first = [degree**2 for degree in range(nl)]
    packed = _halves(weights)

    def both(name: str, matrix: Tensor) -> None:
        packed[name], packed[f"{name}_back"] = matrix.contiguous(), matrix.mT.contiguous()

    if weights.density is not None:
        table = weights.density[first].view(nl, 3, c, elements, r)
        table = _padded(table, nl, 3, cp, elements, rp).view(nl, 3 * cp, elements * rp)
        both("density", table.mT)
    if weights.radial is not None and weights.factors is not None and weights.emit is not None:
        table = _padded(weights.radial.view(r, nl, c), rp, nl, cp).view(rp, nl * cp)
        both("radial", table)
        table = _padded(weights.factors[first].view(nl, 3, c, c), nl, 3, cp, cp).view(nl, 3 * cp, cp)
        both("factors", table.mT)
        both("emit", _padded(weights.emit[first[: config.l_features + 1]], config.l_features + 1, cp, cp))
    if weights.centre is not None:
        packed["centre"] = _padded(weights.centre.view(elements, 3, c), elements, 3, cp)
    inner, direct = weights.scalars.view(-1, 3, c).split([h, c])
    table = torch.cat([_padded(inner, hp, 3, cp), _padded(direct, cp, 3, cp)]).view(hp + cp, 3 * cp)
    both("scalars", table.T)
    both("outer", _padded(weights.scalars_outer.T, hp, cp))
    packed |= pack_readout(weights, config, lanes)
    if weights.update is not None and config.l_features:
        rows = [degree**2 - 1 for degree in range(1, config.l_features + 1)]
        table = weights.update[rows].view(len(rows), c, 3, c)
        both("update", _padded(table, len(rows), cp, 3, cp).view(len(rows), cp, 3 * cp).mT)
    return packed


def pack_readout(weights: LayerWeights, config: NetworkConfig, lanes: int) -> dict[str, Tensor]:
    """Return what of :func:`pack` holds the readout."""
    cp, hp = (-(-width // lanes) * lanes for width in (config.channels, config.hidden))
    inner, direct = weights.readout.split([config.hidden, 1])
    table = torch.cat([_padded(inner, hp, cp), _padded(direct, lanes, cp)])
    return {
        "readout": table.T.contiguous(),
        "readout_back": table.contiguous(),
        "readout_outer": _padded(weights.readout_outer, hp),
    }


# -- call -------------------------------------------------------------------------------------------


class _Shape(ctypes.Structure):
    names = (
        "layers",
        "l_max",
        "l_features",
        "channels",
        "radial",
        "hidden",
        "elements",
        "steps",
        "gradients",
    )
    _fields_ = [*((name, ctypes.c_int64) for name in names), ("cutoff", ctypes.c_double)]


class _Coupling(ctypes.Structure):
    _fields_ = [
        ("m", ctypes.c_int64), ("axis", ctypes.c_int64), ("lower", ctypes.c_int64), ("value", ctypes.c_double)
    ]  # fmt: skip


class Input(ctypes.Structure):
    """What is evaluated: the struct of this name in native_common.h."""

    pointers = ("vectors", "counts", "reverse", "species", "neighbour")
    _fields_ = [
        ("shape", ctypes.POINTER(_Shape)),
        ("weights", ctypes.c_void_p),
        ("steps", ctypes.c_void_p),
        ("gradients", ctypes.c_void_p),
        ("atoms", ctypes.c_int64),
        ("bonds", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in pointers),
        ("threads", ctypes.c_int64),
    ]


class _Arguments(ctypes.Structure):
    _fields_ = [("input", Input), *((name, ctypes.c_void_p) for name in ("seeds", "energies", "slopes"))]


@cache
def _couplings(l_max: int) -> tuple[Any, Any]:
    """Return what is not zero of the tables of :func:`harmonic_steps`."""
    up, gradient = harmonic_steps(l_max)
    steps, gradients = [], []
    for degree, table in enumerate(up, start=1):
        for row, m in torch.nonzero(table.abs() > 1e-12).tolist():
            axis, lower = divmod(row, 2 * degree - 1)
            steps.append(_Coupling(degree**2 + m, axis, (degree - 1) ** 2 + lower, float(table[row, m])))
    for m, column in torch.nonzero(gradient.abs() > 1e-12).tolist():
        axis, lower = divmod(column, l_max**2)
        gradients.append(_Coupling(m + 1, axis, lower, float(gradient[m, column])))
    return (_Coupling * len(steps))(*steps), (_Coupling * len(gradients))(*gradients)


@dataclass(frozen=True)
class Packed:
    """Weights of a network for native.cpp, what they were packed from, and the tensors that hold them."""

    layers: list[LayerWeights]
    shape: _Shape
    pointers: Any
    tensors: list[dict[str, Tensor]]


class NativeWeights:
    """The weights of a network as native.cpp reads them; packed again when they have changed."""

    def __init__(self) -> None:
        self._kept: Packed | None = None

    def __reduce__(self) -> tuple[type[NativeWeights], tuple[()]]:
        # A copy packs its own: addresses do not survive copying.
        return NativeWeights, ()

    def get(self, network: DensityNetwork, packed: PackedWeights) -> Packed:
        """Return the packed weights of all layers."""
        layers, kept = packed.get(network), self._kept
        if kept is None or kept.layers is not layers:
            kept = self._kept = pack_network(network, layers, network.radial.scale.dtype)
        return kept


def pack_network(network: DensityNetwork, layers: list[LayerWeights], dtype: torch.dtype) -> Packed:
    """Return weights packed for native.cpp, with the padding of a type."""
    config = network.config
    lanes = load_library().mlpot_lanes(dtype.itemsize)
    elements = 1 if layers[0].centre is None else len(layers[0].centre)
    tensors = [pack(weights, config, elements, lanes) for weights in layers]
    channels, hidden = (-(-width // lanes) * lanes for width in (config.channels, config.hidden))
    steps, gradients = _couplings(config.l_max)
    shape = _Shape(
        config.layers, config.l_max, config.l_features, channels, config.radial, hidden, elements,
        len(steps), len(gradients), network.radial.cutoff,
    )  # fmt: skip
    return Packed(layers, shape, point_to(tensors), tensors)


def point_to(tensors: list[dict[str, Tensor]]) -> Any:
    """Return the pointers to packed weights, layer by layer; the tensors must outlive them."""
    pointers = (ctypes.c_void_p * (len(MEMBERS) * len(tensors)))()
    for index, table in enumerate(tensors):
        for member, name in enumerate(MEMBERS):
            if name in table:
                pointers[index * len(MEMBERS) + member] = table[name].data_ptr()
    return pointers


def with_readouts(packed: Packed, layers: list[LayerWeights], config: NetworkConfig) -> Packed:
    """Return weights with the readouts of ``layers``; everything else is shared."""
    lanes = load_library().mlpot_lanes(layers[0].readout.element_size())
    tensors = [
        table | pack_readout(weights, config, lanes)
        for table, weights in zip(packed.tensors, layers, strict=True)
    ]
    return Packed(layers, packed.shape, point_to(tensors), tensors)


@torch.no_grad()
def native_energies_and_slopes(weights: Packed, bonds: Bonds, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """Return what :func:`mlpot.model.inference.energies_and_slopes` returns, to rounding.

    On as many threads as PyTorch uses; bonds and seeds (N,) as there.

    Raises
    ------
    NativeError
        If the kernels cannot be had.
    """
    inputs, kept = input_of(weights, bonds)
    tensors = {
        "seeds": seeds.to(bonds.vectors.dtype).contiguous(),
        "energies": torch.empty_like(seeds, dtype=bonds.vectors.dtype),
        "slopes": torch.empty_like(kept["vectors"]),
    }
    arguments = _Arguments(inputs, **{name: tensor.data_ptr() for name, tensor in tensors.items()})
    call("evaluate", bonds.vectors.dtype, arguments)
    return tensors["energies"], tensors["slopes"]


def input_of(weights: Packed, bonds: Bonds) -> tuple[Input, dict[str, Tensor]]:
    """Return what the kernels evaluate, and the tensors that must live as long as it is used."""
    tensors = {name: getattr(bonds, name).contiguous() for name in Input.pointers}
    steps, gradients = _couplings(weights.shape.l_max)
    inputs = Input(
        shape=ctypes.pointer(weights.shape),
        weights=ctypes.cast(weights.pointers, ctypes.c_void_p),
        steps=ctypes.cast(steps, ctypes.c_void_p),
        gradients=ctypes.cast(gradients, ctypes.c_void_p),
        atoms=len(bonds.species),
        bonds=len(bonds.vectors),
        threads=torch.get_num_threads(),
        **{name: tensor.data_ptr() for name, tensor in tensors.items()},
    )
    return inputs, tensors


def call(what: str, dtype: torch.dtype, arguments: ctypes.Structure) -> None:
    """Call a kernel, with the memory that it asks for."""
    function = getattr(load_library(), f"mlpot_{what}_{DTYPES[dtype]}")
    # Kept from call to call: fresh memory costs page faults, a large part of a small call.
    if not hasattr(_memory, "buffer"):
        _memory.buffer = torch.empty(0, dtype=torch.uint8)
    while needed := function(ctypes.byref(arguments), _memory.buffer.data_ptr(), len(_memory.buffer)):
        _memory.buffer = torch.empty(0, dtype=torch.uint8)
        _memory.buffer = torch.empty(needed + needed // 8, dtype=torch.uint8)
