"""The same tasks in jobs of Slurm, by way of commands of its names that run them on this machine."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from mlpot.engine.settings import SlurmEngine
from mlpot.engine.start import start_workers
from mlpot.engine.workers import EngineError, TaskError

pytest.importorskip("parsl", reason="the cluster engine needs Parsl")

SLURM = {
    "kind": "slurm", "nodes": 4, "nodes_per_job": 2, "workers_per_node": 16, "walltime": "02:30:00",
    "partition": "normal", "account": "phys", "options": ["--mail-type=FAIL"], "setup": ["module load qe"],
    "memory_per_node": 64, "cores_per_node": 16, "threads": 2,
}  # fmt: skip


def test_the_submit_script_is_as_configured(tmp_path, slurm):
    from mlpot.engine.cluster import slurm_provider

    provider = slurm_provider(SlurmEngine(**SLURM))
    provider.script_dir = str(tmp_path)
    (slurm / "sbatch").write_text("#!/bin/sh\necho Submitted batch job 1\n")
    provider.submit("start-workers", 1, "job")
    (script,) = tmp_path.glob("job.*")
    text = script.read_text()
    for expected in (
        "#SBATCH --nodes=2", "#SBATCH --time=150", "#SBATCH --partition=normal", "#SBATCH --account=phys",
        "#SBATCH --mail-type=FAIL", "#SBATCH --exclusive", "#SBATCH --mem=64g", "#SBATCH --cpus-per-task=16",
        "export OMP_NUM_THREADS=2", "module load qe", "start-workers", "srun --ntasks 2",
    ):  # fmt: skip
        assert expected in text, expected
    assert provider.max_blocks == 2
    single = slurm_provider(SlurmEngine(**{**SLURM, "nodes_per_job": 1}))
    single.script_dir = str(tmp_path / "single")
    os.mkdir(single.script_dir)
    single.submit("start-workers", 1, "job")
    (script,) = (tmp_path / "single").glob("job.*")
    assert "srun" not in script.read_text() and single.max_blocks == 4


def test_tasks_end_as_they_do_in_local_workers(tmp_path, slurm, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    engine = SlurmEngine(workers_per_node=1, walltime="00:10:00", threads=3)
    with closing(start_workers(engine, tmp_path)) as workers:
        assert workers.submit("chores:double", {"number": 21}).result()["number"] == 42
        there = workers.submit("chores:surroundings", {}).result()
        assert (there["directory"], there["threads"]) == (os.getcwd(), "3")
        with pytest.raises(TaskError, match=r"^ValueError: it went wrong \(traceback in .*workers\.log\)$"):
            workers.submit("chores:fail", {"kind": "bug"}).result()
        with pytest.raises(EngineError, match="a worker cannot import chores:absent"):
            workers.submit("chores:absent", {}).result()
        with pytest.raises(TypeError, match="not JSON serializable"):
            workers.submit("chores:double", {"number": object()})


def test_slurm_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="there is no sbatch here"):
        start_workers(SlurmEngine(workers_per_node=2, walltime="00:10:00"), tmp_path)


def test_nodes_that_jobs_cannot_share(tmp_path, slurm):
    with pytest.raises(EngineError, match=r"nodes: 4 is no multiple of engine.nodes_per_job, 3"):
        start_workers(SlurmEngine(**{**SLURM, "nodes_per_job": 3}), tmp_path)
