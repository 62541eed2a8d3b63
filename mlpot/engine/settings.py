"""The ``engine`` section of a recipe: what carries out the tasks of a command, and where."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import Field

from mlpot.recipe import Recipe

#: Variables that say how many threads a process may start.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class EngineSection(Recipe):
    """What all engines have.

    ``threads``: OpenMP and BLAS threads of each worker. ``retries``: how often a task is tried
    again, in the same run, after its worker or node was lost.
    """

    threads: int = Field(default=1, ge=1)
    retries: int = Field(default=2, ge=0)

    def thread_variables(self) -> dict[str, str]:
        """Return environment variables for the worker processes."""
        return {name: str(self.threads) for name in _THREAD_VARIABLES}


class LocalEngine(EngineSection):
    """Processes on this machine.

    ``workers``: how many; by default as many as there are processors for this process
    (inside a batch job: those of the job on this node), divided by ``threads``.
    """

    kind: Literal["local"] = "local"
    workers: int | None = Field(default=None, ge=1)

    def count(self) -> int:
        """Return the number of worker processes."""
        return self.workers or max(1, len(os.sched_getaffinity(0)) // self.threads)


class SlurmEngine(EngineSection):
    """Slurm jobs that run workers, started and replaced by Parsl.

    ``nodes``: in use at the same time. ``nodes_per_job``: each job asks for so many of them; jobs
    of one node start sooner, and with a lost node no other is lost. ``workers_per_node``:
    tasks that run side by side on a node. ``walltime``: of a job, HH:MM:SS; another
    follows while there are tasks left. ``partition``, ``account``, ``qos``, ``constraint``: as
    sbatch takes them. ``memory_per_node``: GB. ``cores_per_node``: processors asked for.
    ``exclusive``: whole nodes. ``options``: further lines for sbatch, without ``#SBATCH``.
    ``setup``: shell lines before the workers start (modules, environments). ``launcher``:
    ``simple`` starts one set of workers per job, ``srun`` one per node; by default what
    ``nodes_per_job`` needs. ``address``: of this machine as seen from the nodes; by default
    every one it has is tried. ``node_timeout``: seconds without a sign of life after which a
    node counts as lost.
    """

    kind: Literal["slurm"] = "slurm"
    nodes: int = Field(default=1, ge=1)
    nodes_per_job: int = Field(default=1, ge=1)
    workers_per_node: int = Field(ge=1)
    walltime: str = Field(pattern=r"^\d{1,3}:[0-5]\d:[0-5]\d$")
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    memory_per_node: int | None = Field(default=None, ge=1)
    cores_per_node: int | None = Field(default=None, ge=1)
    exclusive: bool = True
    options: list[str] = Field(default=[])
    setup: list[str] = Field(default=[])
    launcher: Literal["simple", "srun"] | None = None
    address: str | None = None
    node_timeout: int = Field(default=120, ge=3)


#: The engines, told apart by ``kind``.
Engine = Annotated[LocalEngine | SlurmEngine, Field(discriminator="kind")]
