"""Workers in Slurm jobs, by way of Parsl.

Parsl's HighThroughputExecutor runs inside the command: no server and no data base are kept up.
It submits the jobs, hands tasks to its workers there, notices lost nodes by their heartbeats, and
submits further jobs while there is work. Its workers on a node share a queue, which one of them that
is killed while it waits can leave locked for all. So they do not compute themselves: each hands its
tasks to a process of :mod:`mlpot.engine.pool`, and what runs out of memory or crashes is that.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

from mlpot.engine.pool import LocalWorkers
from mlpot.engine.settings import EngineSection, SlurmEngine
from mlpot.engine.workers import EngineError, Outcome, TaskError, WorkerLost, Workers

try:
    import parsl
    from parsl.concurrent import ParslPoolExecutor
    from parsl.executors import HighThroughputExecutor
    from parsl.executors.errors import BadStateException
    from parsl.executors.high_throughput import errors, executor
    from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus
    from parsl.launchers import SimpleLauncher, SrunLauncher
    from parsl.providers import SlurmProvider
    from parsl.providers.base import ExecutionProvider
except ImportError as error:
    raise EngineError(
        f"engine.kind: slurm needs Parsl ({error}); install it: pip install 'mlpot[labelling]'"
    ) from None

#: Jobs that may end one after the other before any task does, before the run is given up.
_FRUITLESS_JOBS = 3

_PARSL = "parsl.executors.high_throughput"
#: Parsl's hub, which ends with the process that started it (Linux: PR_SET_PDEATHSIG is 1), even by a
#: kill; without it the jobs end after ``node_timeout``.
_HUB = (
    f"import ctypes, runpy; ctypes.CDLL(None).prctl(1, 9); "
    f"runpy.run_module('{_PARSL}.interchange', run_name='__main__', alter_sys=True)"
)


@cache
def _child(folder: str, directory: str) -> LocalWorkers:
    return LocalWorkers(Path(folder), 1, {}, directory)


def carry_out_in_child(folder: str, directory: str, function: str, arguments: str) -> Outcome:
    """Carry out a task (its arguments are JSON) in a process of its own; called in Parsl's workers."""
    return _child(folder, directory).submit(function, json.loads(arguments)).result()


class ParslWorkers(Workers):
    """Workers in jobs of a batch system; Parsl's logs and job scripts go to ``FOLDER/parsl``.

    Parameters
    ----------
    folder
        Of the run, as the working directory on a file system that the nodes share.
    provider
        What submits jobs.
    workers_per_node
        Workers of each node.
    node_timeout
        Seconds without a sign of life after which a node counts as lost.
    address
        Of this machine as seen from the nodes; ``None``: every one it has is tried.
    """

    def __init__(
        self,
        folder: Path,
        provider: ExecutionProvider,
        workers_per_node: int,
        node_timeout: int,
        address: str | None,
    ) -> None:
        self._folder = folder.resolve()
        self._provider = provider
        self._ended = self._ended_before = self._jobs_before = 0
        python = shlex.quote(sys.executable).replace("{", "{{").replace("}", "}}")
        pool = f"{python} -m {_PARSL}.process_worker_pool"
        self._executor = HighThroughputExecutor(
            label="workers", provider=provider, address=address, encrypted=True,
            max_workers_per_node=workers_per_node, cores_per_worker=1e-3,  # as many as asked for
            heartbeat_threshold=node_timeout, heartbeat_period=max(1, node_timeout // 4),
            # By the interpreter's own path: the environment's folder of programs need not be on PATH.
            launch_cmd=executor.DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", pool, 1),
            interchange_launch_cmd=[sys.executable, "-c", _HUB],
            block_error_handler=self._give_up_when_fruitless,
        )  # fmt: skip
        config = parsl.Config(
            executors=[self._executor],
            run_dir=str(self._folder / "parsl"),
            retries=0,
            initialize_logging=False,
        )
        # A kernel of our own: parsl.load would set one for the whole program.
        self._kernel = parsl.DataFlowKernel(config)
        self._pool = ParslPoolExecutor(dfk=self._kernel)

    def submit(self, function: str, arguments: dict[str, Any]) -> Future[Outcome]:
        """Queue a task; see :meth:`Workers.submit`."""
        future: Future[Outcome] = Future()
        task = self._pool.submit(
            carry_out_in_child, str(self._folder), os.getcwd(), function, json.dumps(arguments)
        )
        task.add_done_callback(lambda done: self._pass_on(done, future))
        return future

    def close(self) -> None:
        """End all jobs and tasks at once."""
        active = [name for name, job in self._provider.resources.items() if not job["status"].terminal]
        if active:
            self._provider.cancel(active)
        self._kernel.cleanup()

    def _pass_on(self, done: Future[Any], future: Future[Outcome]) -> None:
        """Pass on how a task ended, in the terms of :meth:`Workers.submit`."""
        error = done.exception()
        if error is None:
            self._ended += 1
            future.set_result(done.result())
        elif isinstance(error, TaskError):
            self._ended += 1
            future.set_exception(error)
        elif isinstance(error, errors.WorkerLost | errors.ManagerLost):
            future.set_exception(WorkerLost(f"its worker or node was lost ({error})"))
        elif isinstance(error, BadStateException):
            future.set_exception(EngineError(str(self._executor.executor_exception)))
        else:
            future.set_exception(error)

    def _give_up_when_fruitless(self, executor: Any, status: dict[str, JobStatus]) -> None:
        """Stop the run when job after job ends before any task does, as with a wrong setup."""
        over = [
            job for job in status.values() if job.state in TERMINAL_STATES and job.state != JobState.SCALED_IN
        ]
        if self._ended > self._ended_before:
            self._ended_before, self._jobs_before = self._ended, len(over)
        limit = max(_FRUITLESS_JOBS, self._provider.max_blocks)
        if len(over) - self._jobs_before < limit or executor.bad_state_is_set:
            return
        said = "; ".join(filter(None, (over[-1].message, over[-1].stderr_summary)))
        executor.set_bad_state_and_fail_all(
            EngineError(
                f"{limit} jobs in a row ended before any work was done, so no further ones are submitted; "
                f"their scripts and outputs are in {executor.run_dir}; the last one says: {said or 'nothing'}"
            )
        )


def slurm_provider(section: SlurmEngine) -> SlurmProvider:
    """Return what submits the jobs of a section.

    Raises
    ------
    EngineError
        If ``nodes`` is no multiple of ``nodes_per_job``.
    """
    jobs, rest = divmod(section.nodes, section.nodes_per_job)
    if rest:
        raise EngineError(
            f"engine.nodes: {section.nodes} is no multiple of engine.nodes_per_job, {section.nodes_per_job}."
        )
    launcher = section.launcher or ("simple" if section.nodes_per_job == 1 else "srun")
    return SlurmProvider(
        partition=section.partition, account=section.account, qos=section.qos, constraint=section.constraint,
        nodes_per_block=section.nodes_per_job, init_blocks=1, max_blocks=jobs, walltime=section.walltime,
        mem_per_node=section.memory_per_node, cores_per_node=section.cores_per_node,
        exclusive=section.exclusive,
        scheduler_options="\n".join(f"#SBATCH {option}" for option in section.options),
        worker_init="\n".join([*_exports(section), *section.setup]),
        launcher=SimpleLauncher() if launcher == "simple" else SrunLauncher(), cmd_timeout=60,
    )  # fmt: skip


def _exports(section: EngineSection) -> list[str]:
    """Return shell lines that give the workers their threads, and the modules that can be imported here."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    variables = section.thread_variables() | {"PYTHONPATH": path}
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def start_slurm(section: SlurmEngine, folder: Path) -> ParslWorkers:
    """Return workers in Slurm jobs; see :class:`ParslWorkers`.

    Raises
    ------
    EngineError
        If this is no machine from which jobs are submitted.
    """
    if shutil.which("sbatch") is None:
        raise EngineError(
            "engine.kind: slurm: there is no sbatch here; start the command on a login node of the cluster, "
            "or use engine.kind: local."
        )
    return ParslWorkers(
        folder, slurm_provider(section), section.workers_per_node, section.node_timeout, section.address
    )
