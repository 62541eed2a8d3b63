"""Stand-ins for what tests do not start: worker processes, and Slurm."""

from __future__ import annotations

import json
import os
import stat
import sys
from concurrent.futures import Future
from pathlib import Path
from pkgutil import resolve_name

import pytest

from mlpot.engine.workers import TaskError, Workers


class InlineWorkers(Workers):
    """Tasks in this very process, for tests that are not about processes."""

    def submit(self, function, arguments):
        future = Future()
        arguments = json.loads(json.dumps(arguments))
        try:
            outcome = json.dumps(resolve_name(function)(**arguments))
        except Exception as error:
            failure = TaskError(f"{type(error).__name__}: {error}")
            failure.__cause__ = error
            future.set_exception(failure)
        else:
            future.set_result(json.loads(outcome))
        return future

    def close(self) -> None:
        pass


SBATCH = """#!{python}
import pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
out, err = (here / "out").open("a"), (here / "err").open("a")
job = subprocess.Popen(["bash", sys.argv[1]], stdout=out, stderr=err, start_new_session=True)
with (here / "jobs").open("a") as file: print(job.pid, file=file)
print("Submitted batch job", job.pid)
"""
SQUEUE = """#!{python}
import os, sys
for job in sys.argv[-1].strip("'").split(","):
    try: os.kill(int(job), 0)
    except OSError: continue
    print(job, "R")
"""
SCANCEL = """#!{python}
import os, sys
for job in sys.argv[1:]:
    try: os.killpg(int(job), 9)
    except OSError: pass
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch) -> Path:
    """Commands by Slurm's names that run jobs on this machine."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "scancel": SCANCEL}.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(stat.S_IRWXU)
    (folder / "sacct").write_text("#!/bin/sh\nexit 1\n")
    (folder / "sacct").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder
