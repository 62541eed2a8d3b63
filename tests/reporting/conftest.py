"""One small thing of every kind that a report shows, made by the code that makes them for users."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from mlpot.atomic import write_json
from mlpot.data.files import write_frames
from mlpot.doctor.examination import Examination, VolumeCurve
from mlpot.doctor.speed import Speed
from mlpot.melting.coexistence import State
from mlpot.melting.estimate import Series, estimate
from mlpot.melting.report import write_melting
from mlpot.melting.settings import MeltingSettings
from mlpot.observables.report import write_observables
from mlpot.observables.survey import Survey
from mlpot.properties.compute import compute
from mlpot.properties.report import document, write
from mlpot.recipe import parse_recipe
from mlpot.reference.classical import classical_calculator
from mlpot.simulation.run import write_stability
from mlpot.simulation.stability import stability
from mlpot.studies.report import write_report
from mlpot.testing.diatomics import Diatomic
from mlpot.testing.evaluation import CheckResult
from mlpot.training.run import TrainRecipe, train
from mlpot.transfer.run import TransferRecipe, transfer

TINY = {"channels": 4, "hidden": 4}


@pytest.fixture(scope="session")
def runs(si_frames, ge_frames, tmp_path_factory) -> Path:
    """A folder with ``si.xyz``, ``ge.xyz``, a training run ``si`` and a transfer run ``ge``."""
    folder = tmp_path_factory.mktemp("runs")
    write_frames(folder / "si.xyz", si_frames[:12])
    write_frames(folder / "ge.xyz", ge_frames[:8])
    plan = {
        "data": {"train": str(folder / "si.xyz"), "validation": {"fraction": 0.5, "stratify": ["group"]}},
        "model": TINY,
        "fit": {"epochs": 2},
        "group_by": "group",
        "card": {"title": "Silicon <tiny>", "citations": ["someone, <https://example.org/a>"]},
    }
    train(parse_recipe(TrainRecipe, plan, "test"), folder / "si")
    plan = {
        "model": str(folder / "si" / "model.safetensors"),
        "targets": "Ge",
        "data": {"train": str(folder / "ge.xyz"), "validation": {"fraction": 0.25}},
        "scales": "none",
        "fit": {"epochs": 1},
    }
    transfer(parse_recipe(TransferRecipe, plan, "test"), folder / "ge")
    return folder


@pytest.fixture(scope="session")
def stability_folder(tmp_path_factory, si_frames) -> Path:
    out = tmp_path_factory.mktemp("stability")
    calculator, start = classical_calculator("sw-si"), si_frames[0].to_atoms()
    found = stability(calculator, start, [300.0], [0, 1], 0.02, timestep_fs=2.0, reference=calculator)
    about = {"command": "mlpot stability M", "model": "M", "committee": [], "structure": "si.xyz"}
    write_stability(found, out, about | {"reference": "sw-si"})
    return out


@pytest.fixture(scope="session")
def properties_folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("properties")
    records = compute(classical_calculator("sw-si"), "Si", ["lattice"])
    about = {"command": "mlpot properties --calculator sw-si", "name": "sw-si", "calculator": {}}
    write(document(records, "Si", about | {"settings": {}, "set": None, "only": ["lattice"]}), out)
    return out


@pytest.fixture(scope="session")
def observables_folder(tmp_path_factory, si_frames) -> Path:
    out = tmp_path_factory.mktemp("observables")
    frames = [frame.to_atoms() for frame in si_frames[:4]]
    found, missing = Survey(frames, None, frames[:2]).observe(["rdf"])
    about = {"command": "mlpot observe md.xyz --rdf", "trajectory": "md.xyz", "frames": 4, "slice": ":"}
    write_observables(found, missing | {"vdos": "no times"}, about | {"reference": "aimd.xyz"}, out)
    return out


@pytest.fixture(scope="session")
def melting_folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("melting")
    rng = np.random.default_rng(0)
    series, states = [], []
    for side, start in (("cold", 1500.0), ("hot", 1800.0)) * 2:
        temperature, fraction = 1690.0 + 20.0 * rng.normal(size=400), np.full(100, 0.5)
        series.append(Series(side, start, temperature, fraction, 0.0))
        atoms = Atoms("Si", cell=[5.0] * 3, pbc=True)
        lists = {"temperature": temperature.tolist(), "length": [40.0] * 400, "fraction": fraction.tolist()}
        states.append(State(atoms, start, **lists))
    about = {"command": "mlpot melt --calculator sw-si", "element": "Si", "name": "sw-si", "notes": []}
    write_melting(estimate(series), {}, states, MeltingSettings(), about, out)
    return out


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory) -> Path:
    spec = spec_from_file_location("synthetic", Path(__file__).parents[1] / "studies" / "synthetic.py")
    assert spec is not None and spec.loader is not None
    synthetic = module_from_spec(spec)
    spec.loader.exec_module(synthetic)
    out = tmp_path_factory.mktemp("study")
    results = synthetic.synthetic_results(["scratch", "transfer"], [10], seeds=2, dynamics=False)
    write_json(out / "results.json", json.loads(json.dumps(results)))
    write_report(out, results)
    return out


@pytest.fixture(scope="session")
def examination() -> Examination:
    distances = np.linspace(1.0, 5.0, 20)
    return Examination(
        name="sw-si",
        symbols=("Si",),
        precision="float64",
        spacing=2.2,
        cutoff=None,
        reach=4.0,
        noise=(1e-12, float("inf")),
        results=[
            CheckResult.judge("forces", 1e-9, 1e-6, "eV/Å"),
            CheckResult.judge("stress", float("inf"), 1e-6, "it raised <an error>"),
            CheckResult.not_applicable("mixing", "one element"),
        ],
        diatomics=[Diatomic(("Si", "Si"), 2.22, distances, 1 / distances, 1 / distances**2)],
        volumes=VolumeCurve([18.0, 20.0, 22.0], [-4.2, -4.3, -4.2], None),
        missing=["two atoms: ValueError: <too far>"],
        speed=[Speed(64, 5, 1.5, 23.0), Speed(512, 0, None, None, "too slow")],
        skipped=("closed loop",),
        seed=3,
        seconds=1.0,
    )


@pytest.fixture(scope="session")
def doctor_file(tmp_path_factory, examination) -> Path:
    path = tmp_path_factory.mktemp("doctor") / "doctor.json"
    write_json(path, {"command": "doctor", **examination.asdict()}, allow_nan=False)
    return path


@pytest.fixture(scope="session")
def evaluation_file(runs) -> Path:
    from mlpot.data.files import read_frames
    from mlpot.model.file import load_model
    from mlpot.training.errors import errors_by_group

    model, data = runs / "si" / "model.safetensors", runs / "si.xyz"
    errors = errors_by_group(load_model(model), read_frames(data), ["group"])
    found = {
        "command": "evaluate",
        "model": str(model),
        "data": str(data),
        "group_by": ["group"],
        "errors": {name: own.asdict() for name, own in errors.items()},
        "committee": [],
        "calibration": {},
    }
    write_json(runs / "evaluation.json", found)
    return runs / "evaluation.json"
