"""``mlpot lattice``: distributions and interactions of lattice models, learned from configurations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from mlpot.cli.options import Json, spread
from mlpot.cli.output import emit, line, new_table, progress_bar, working

if TYPE_CHECKING:
    from rich.console import Console

SAMPLE_EXAMPLE = (
    "Example:  mlpot lattice sample --model ising --shape 8 8 --temperature 4 --count 100000 --seed 0 "
    "--out samples.npz"
)
LEARN_EXAMPLE = "Example:  mlpot lattice learn recipes/lattice/ising.yaml --profile quick --out runs/ising"
EXTRAPOLATE_EXAMPLE = "Example:  mlpot lattice extrapolate runs/ising"
REPORT_EXAMPLE = "Example:  mlpot lattice report runs/ising"

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of `mlpot lattice learn`.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes side by side, instead of the recipe's engine.")
]


class _Shape(TyperCommand):
    """A command whose ``--shape`` takes several lengths at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread(args, "--shape"))


app = typer.Typer(no_args_is_help=True, help="Learn lattice models from configurations alone.")


@app.command("sample", cls=_Shape, epilog=SAMPLE_EXAMPLE)
def sample(
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="ising, ising_nnn, potts, edwards_anderson, all_to_all, planted or custom.",
        ),
    ],
    shape: Annotated[list[int], typer.Option(metavar="L L ...", help="Sites along each of 1 to 3 axes.")],
    temperature: Annotated[float, typer.Option(metavar="T", help="In J/k_B.")],
    count: Annotated[int, typer.Option(metavar="N", help="Samples.", min=1)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Sample file, ending in .npz.")],
    seed: Annotated[int, typer.Option(metavar="N", help="Of the random numbers.", min=0)] = 0,
    coupling: Annotated[float | None, typer.Option(metavar="J", help="Nearest neighbours. \\[1]")] = None,
    second: Annotated[
        float | None, typer.Option(metavar="J2", help="ising_nnn: next-nearest neighbours. \\[0.5]")
    ] = None,
    field: Annotated[float | None, typer.Option(metavar="H", help="External field. \\[0]")] = None,
    q: Annotated[int | None, typer.Option(metavar="Q", help="potts: states of a site.")] = None,
    form: Annotated[str | None, typer.Option(help="potts: standard or clock. \\[standard]")] = None,
    disorder: Annotated[
        int | None, typer.Option(metavar="N", help="Glasses: seed of the couplings. \\[0]", min=0)
    ] = None,
    distribution: Annotated[
        str | None, typer.Option(help="edwards_anderson: gaussian or bimodal. \\[gaussian]")
    ] = None,
    variance: Annotated[
        float | None, typer.Option(metavar="V", help="all_to_all: of the couplings. \\[1/N]")
    ] = None,
    couplings: Annotated[
        str | None, typer.Option(metavar="FILE", help="custom: a bond i j J on every line.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="auto, metropolis, heat_bath, wolff, swendsen_wang or tempering.")
    ] = "auto",
    order: Annotated[str, typer.Option(help="Of sites: random, sequential or checkerboard.")] = "random",
    stream: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="The correlated stream instead, every N-th sweep, as published.", min=1
        ),
    ] = None,
    chains: Annotated[
        int | None, typer.Option(metavar="N", help="Independent chains. \\[up to 64]", min=1)
    ] = None,
    burn_in: Annotated[
        int | None, typer.Option(metavar="N", help="Sweeps to discard. \\[from the pilot run]", min=0)
    ] = None,
    hottest: Annotated[
        float | None, typer.Option(metavar="T", help="Top of the ladder of tempering.")
    ] = None,
    json: Json = False,
) -> None:
    """Draw equilibrium samples of a model: decorrelated by default, as measured in a pilot run.

    Units: J = k_B = 1. The file holds the states (integers 0 to q-1), the temperature, the
    Hamiltonian, and what was measured about correlations.
    """
    with working():
        import math

        from mlpot.errors import DataError
        from mlpot.lattice.recipe import ModelSection, SamplingSection
        from mlpot.lattice.sampling import sample as draw
        from mlpot.recipe import parse_recipe

        if out.suffix != ".npz":
            raise DataError(f"{out}: sample files end in .npz.")
        if disorder is None and model in ("edwards_anderson", "all_to_all", "planted"):
            disorder = 0
        keys = {
            "name": model, "J": coupling, "J2": second, "field": field, "q": q, "form": form,
            "seed": disorder, "distribution": distribution, "variance": variance, "couplings": couplings,
        }  # fmt: skip
        section = parse_recipe(ModelSection, {k: v for k, v in keys.items() if v is not None}, "--model")
        settings = {
            "method": method, "order": order, "stream": stream, "chains": chains, "burn_in": burn_in,
            "hottest": hottest,
        }  # fmt: skip
        how = parse_recipe(SamplingSection, settings, "sampling")
        hamiltonian = section.build(shape)
        with progress_bar() as update:
            samples = draw(
                hamiltonian, temperature, count, how.method, how.order, seed, how.stream, how.chains,
                how.burn_in, how.hottest, lambda done, total: update(done / total, f"{done} samples"),
            )  # fmt: skip
        samples.save(out)
        drift = samples.drift_test()
        energies = hamiltonian.energy(samples.states) / hamiltonian.lattice.sites
        document: dict[str, Any] = {
            "command": "lattice sample",
            "out": str(out),
            "model": hamiltonian.name,
            "parameters": hamiltonian.parameters,
            "shape": list(samples.shape),
            "temperature": samples.temperature,
            "samples": len(samples),
            "energy_per_site": float(energies.mean()),
            "autocorrelation": samples.autocorrelation,
            "provenance": samples.provenance,
            "drift_p": None if math.isnan(drift.p_value) else drift.p_value,
            "in_equilibrium": not drift.is_visible,
        }

    def show(console: Console) -> None:
        facts = document["autocorrelation"]
        line(console, "samples", f"{count} at T = {temperature:g}, {samples.provenance['method']}")
        line(console, "energy", f"{document['energy_per_site']:.4f} J per site")
        for name, time in facts["steps"].items():
            line(console, "tau", f"{time['tau']:.2f} ± {time['error']:.2f} steps of the {name}")
        line(console, "spacing", f"{facts['spacing']} steps between samples")
        for name, time in facts["samples"].items():
            line(console, "tau", f"{time['tau']:.2f} samples of the {name} (0.5: uncorrelated)")
        if drift.is_visible:
            line(console, "warning", "visibly not in equilibrium: discard more (--burn-in), or sample longer")
        line(console, "written", str(out))

    emit(document, json, show)


@app.command("learn", epilog=LEARN_EXAMPLE)
def learn(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe of a lattice study (YAML).")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run.")],
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the recipe's profiles, such as quick.")
    ] = None,
    samples: Annotated[
        str | None, typer.Option(metavar="FILE", help="Samples to learn from, instead of making them.")
    ] = None,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Learn the energy from samples by every arm of a recipe, and judge it by the true one.

    Stopped or killed, the same command goes on where it was; of a changed recipe only
    what is new is computed.
    """
    with working(), progress_bar() as update:
        from mlpot.lattice.recipe import load_lattice
        from mlpot.lattice.study.run import learn_arms

        changes = {
            "samples": samples,
            "engine": {"kind": "local", "workers": workers} if workers is not None else None,
        }
        results = learn_arms(load_lattice(recipe, profile, changes), out, _say(), update)
    document = {"command": "lattice learn", "out": str(out)} | results
    emit(document, json, lambda console: _show_learned(console, results, out))


@app.command("extrapolate", epilog=EXTRAPOLATE_EXAMPLE)
def extrapolate(run: Run, workers: Workers = None, json: Json = False) -> None:
    """Run Monte Carlo with the learned energies over temperatures and lattices, beside the truth.

    Which ones is said in the recipe (extrapolation). Stopped or killed, the same command goes on.
    """
    with working(), progress_bar() as update:
        from mlpot.lattice.study.run import extrapolate_arms

        results = extrapolate_arms(run, _say(), update, workers)
    document = {"command": "lattice extrapolate", "run": str(run)} | results
    emit(document, json, lambda console: _show_curves(console, results, run))


@app.command("report", epilog=REPORT_EXAMPLE)
def report(run: Run, json: Json = False) -> None:
    """Write the report of a run, with curves and tables, from its results."""
    with working():
        from mlpot.lattice.report import write_report
        from mlpot.lattice.study.run import read_results

        path = write_report(run, read_results(run))
    emit(
        {"command": "lattice report", "run": str(run), "report": str(path)},
        json,
        lambda console: line(console, "report", str(path)),
    )


def _say() -> Any:
    import sys
    import time

    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {text}", file=sys.stderr, flush=True)

    return say


def _show_learned(console: Console, results: dict[str, Any], run: Path) -> None:
    shapes = list(dict.fromkeys(shape for entry in results["learned"] for shape in entry["scores"]))
    table = new_table("arm", "T0", "samples", "seed", *(f"RMSE {shape}" for shape in shapes), "CPU s")
    table.caption = "root mean square error of the total energy over states of all energies, J"
    for entry in results["learned"]:
        scores = [f"{entry['scores'][shape]:.3f}" if shape in entry["scores"] else "–" for shape in shapes]
        row = [f"{entry['temperature']:g}", str(entry["count"]), str(entry["seed"])]
        table.add_row(entry["arm"], *row, *scores, f"{entry['cpu_seconds']:.0f}")
    console.print(table)
    _show_end(console, results, run)


def _show_curves(console: Console, results: dict[str, Any], run: Path) -> None:
    table = new_table("arm", "lattice", "T0", "samples", "seed", "energy", "|M|", "F")
    table.caption = "largest deviation from the truth over temperatures, per site"
    for entry in results["extrapolation"]:
        row = ["x".join(map(str, entry["shape"])), f"{entry['temperature']:g}", str(entry["count"])]
        largest = [_largest(entry, results["truth"], name) for name in _COMPARED]
        told = ["–" if value is None else f"{value:.4f}" for value in largest]
        table.add_row(entry["arm"], *row, str(entry["seed"]), *told)
    console.print(table)
    _show_end(console, results, run)


_COMPARED = ("energy", "magnetisation", "free_energy")


def _largest(entry: dict[str, Any], truths: list[dict[str, Any]], name: str) -> float | None:
    """Return the largest deviation of a curve from the first truth that knows the quantity."""
    for truth in truths:
        if truth["shape"] != entry["shape"]:
            continue
        known = {p["temperature"]: p[name][0] for p in truth["points"] if p[name] is not None}
        both = [
            abs(p[name][0] - known[p["temperature"]])
            for p in entry["points"]
            if p[name] is not None and p["temperature"] in known
        ]
        if both:
            return max(both)
    return None


def _show_end(console: Console, results: dict[str, Any], run: Path) -> None:
    for entry in results["failed"]:
        console.print(f"FAILED {entry['task']}: {entry['reason']}", markup=False, style="red")
    line(console, "results", str(run / "results.json"))
