"""The card says what the header says, and of everything else that it is not stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpot.model.card import MISSING, describe_model, lineage, model_card
from mlpot.model.file import save_model
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential

SUMMARY = {
    "frames": 7, "atoms": 56, "energy_mae": 1.5, "energy_rmse": 2.5, "forces_mae": 41.0, "forces_rmse": 62.0,
    "stress_mae": None, "stress_rmse": None,
}  # fmt: skip
COVERED = {"frames": 30, "atoms": 240, "volume_per_atom": [18.0, 24.5], "shortest_distance": 2.1}


def stage(number: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": "train",
        "recipe": {
            "card": {
                "title": f"Stage {number}",
                "description": "For tests.",
                "licence": f"licence-{number}",
                "citations": [f"Author {number}"],
                "domain": "Crystals | no liquids.",
            },
            "fit": {"epochs": 10 * number, "seed": 4},
        },
        "data": {f"data/{number}.xyz": f"{number}" * 64},
        "frames": {"train": 30, "validation": 7},
        "domain": {"all": COVERED, "Ge: a|b": COVERED | {"volume_per_atom": None}},
        "errors": [
            {
                "name": "validation",
                "use": "not trained on",
                "files": {f"data/{number}.xyz": f"{number}" * 64},
                "group_by": ["group"],
                "date": "2025-01-02",
                "mlpot": "0.0.1",
                "errors": {"Ge": SUMMARY, "all": SUMMARY},
            }
        ],
        **more,
    }


@pytest.fixture
def save(tmp_path: Path):
    def make(provenance: dict[str, Any]) -> Path:
        config = NetworkConfig(channels=4, hidden=4, cutoff=4.5)
        potential = Potential(["Si", "Ge"], config, provenance=provenance)
        potential.length_scales[1], potential.energy_scales[1], potential.offsets[1] = 0.9, 0.8, -3.25
        save_model(potential, tmp_path / "mine.safetensors")
        return tmp_path / "mine.safetensors"

    return make


@pytest.fixture
def card(save) -> str:
    parent = {"elements": ["Si"], "provenance": stage(1), "file": "runs/si", "checksum": "c0ffee" * 10}
    scales = {"length": 0.9, "energy": 0.8, "origin": "given"}
    transfer = {"donors": {"Ge": "Si", "Si": "Si"}, "element_scales": {"Ge": scales}}
    return model_card(save(stage(2, kind="transfer", transfer=transfer, parent=parent)))


def test_a_model_of_which_all_is_known(card: str) -> None:
    assert card.startswith("# Stage 2\n\nFor tests.\n")
    assert MISSING not in card
    assert "| Ge | -3.2500 | 0.9000 | 0.8000 | 5.000 |" in card
    assert "Crystals | no liquids." in card
    assert "\n\n\n" not in card and card.endswith("\n")


def test_every_stage_has_its_data_licence_and_coverage(card: str) -> None:
    for number in (1, 2):
        assert f"- `data/{number}.xyz`, SHA-256 `{str(number) * 64}`" in card
        assert f"- licence: licence-{number}\n- citation: Author {number}\n" in card
    assert card.count("30 frames trained on, 7 held out.") == 2
    assert card.count("| all | 30 | 240 | 18.0 to 24.5 | 2.10 |") == 2
    assert r"| Ge: a\|b | 30 | 240 | – | 2.10 |" in card


def test_lineage_is_told_oldest_first(card: str) -> None:
    section = card.split("## Lineage")[1]
    assert "1. train on Si, Stage 1; 10 epochs, seed 4; `runs/si`, checksum `c0ffeec0ffee…`." in section
    assert "2. transfer on Si, Ge, Stage 2; 20 epochs, seed 4; Ge from Si (length × 0.9000" in section
    assert "; Si from Si." in section


def test_errors_name_their_file_version_and_date_and_all_frames_come_first(card: str) -> None:
    section = card.split("## Errors")[1].split("## Training data")[0]
    assert f"**validation**: `data/2.xyz` (SHA-256 `{'2' * 12}…`); not trained on; 2025-01-02, mlpot 0.0.1." in section  # noqa: E501  # fmt: skip
    assert section.index("| all | 7 | 1.5 / 2.5 | 41 / 62 | – |") < section.index("| Ge | 7 |")
    assert "data/1.xyz" not in section


def test_what_is_not_known_is_said_not_to_be(save) -> None:
    text = model_card(save({}))
    assert text.startswith(f"# mine\n\n{MISSING}\n")
    sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    for name in ("Domain of validity", "Errors", "Training data", "Lineage"):
        assert MISSING in sections[name], name
    assert sections["Training data"].count(MISSING) == 5  # kind, frames, files, licence, citation
    for name in ("The model", "Corresponding states", "Self-test"):
        assert MISSING not in sections[name], name


def test_description_is_plain_and_complete(save) -> None:
    path = save(stage(1))
    document = describe_model(path)
    assert document["model"] == str(path) and document["bytes"] == path.stat().st_size
    assert document["self_test"] == ["8 atoms", "5 atoms"]
    potential = Potential(["Si", "Ge"], NetworkConfig(channels=4, hidden=4, cutoff=4.5))
    assert document["parameters"] == sum(p.numel() for p in potential.parameters())
    (only,) = lineage(document)
    assert only["elements"] == ["Si", "Ge"] and only["provenance"]["kind"] == "train"
