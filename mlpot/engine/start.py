"""From the ``engine`` section of a recipe to workers."""

from __future__ import annotations

from pathlib import Path

from mlpot.engine.pool import LocalWorkers
from mlpot.engine.settings import Engine, LocalEngine
from mlpot.engine.workers import Workers


def start_workers(engine: Engine, folder: Path) -> Workers:
    """Start workers; end them with :meth:`Workers.close`, as :func:`contextlib.closing` does.

    Parameters
    ----------
    engine
        Section of the recipe.
    folder
        Of the run; must exist. ``workers.log`` there has what the workers print.

    Raises
    ------
    EngineError
        If workers cannot be had.
    """
    if isinstance(engine, LocalEngine):
        return LocalWorkers(folder, engine.count(), engine.thread_variables())
    # Imported here: Parsl is optional, and takes its time.
    from mlpot.engine.cluster import start_slurm

    return start_slurm(engine, folder)
