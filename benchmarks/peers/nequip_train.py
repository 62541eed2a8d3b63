"""nequip's own trainer, ``nequip-train``, with a line of test errors per epoch.

    nequip_train.py OPTIONS

``train``, ``validation``, ``test``: files of frames; ``layers``, ``degree``, ``epochs``,
``batch_size``; ``lines``; ``run``: a directory. The test frames are nequip's second validation
set, which nothing is selected by: stage and learning rate follow the first.
"""

import json
import sys
from pathlib import Path

from loop import OPTIONS
from nequip.scripts.train import main

TYPES = "${model_type_names}"
run = Path(OPTIONS["run"])
run.mkdir(parents=True, exist_ok=True)
metrics = {
    "_target_": "nequip.train.EnergyForceMetrics",
    "coeffs": {"per_atom_energy_mae": 1.0, "forces_mae": 1.0, "forces_rmse": None},
}
loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": OPTIONS["batch_size"]}
configuration = {
    "run": ["train"],
    "model_type_names": ["Si"],
    "data": {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "seed": 0,
        "train_file_path": OPTIONS["train"],
        "val_file_path": [OPTIONS["validation"], OPTIONS["test"]],
        "ase_args": {"format": "extxyz"},
        "include_keys": ["REF_energy", "REF_forces"],
        "key_mapping": {"REF_energy": "total_energy", "REF_forces": "forces"},
        "transforms": [
            {
                "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": TYPES,
            },
            {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 5.0},
        ],
        "train_dataloader": loader | {"shuffle": True},
        "val_dataloader": loader,
        "stats_manager": {
            "_target_": "nequip.data.CommonDataStatisticsManager",
            "type_names": TYPES,
            "dataloader_kwargs": {"batch_size": 10},
        },
    },
    "trainer": {
        "_target_": "lightning.Trainer",
        "accelerator": "cpu",
        "max_epochs": OPTIONS["epochs"],
        "logger": False,
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
        "callbacks": [
            {"_target_": "nequip_watch.Watch", "lines": OPTIONS["lines"]},
            {
                "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                "dirpath": str(run),
                "monitor": "val0_epoch/weighted_sum",
                "filename": "best",
                "save_last": True,
            },
        ],
    },
    "training_module": {
        "_target_": "nequip.train.EMALightningModule",
        "ema_decay": 0.99,
        "loss": {
            "_target_": "nequip.train.EnergyForceLoss",
            "per_atom_energy": True,
            "coeffs": {"total_energy": 1.0, "forces": 1.0},
        },
        "val_metrics": metrics,
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
        "lr_scheduler": {
            "scheduler": {
                "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
                "factor": 0.6,
                "patience": 5,
                "threshold": 0.02,
                "min_lr": 1e-6,
            },
            "monitor": "val0_epoch/weighted_sum",
            "interval": "epoch",
            "frequency": 1,
        },
        "model": {
            "_target_": "nequip.model.NequIPGNNModel",
            "seed": 0,
            "model_dtype": "float32",
            "type_names": TYPES,
            "r_max": 5.0,
            "num_layers": OPTIONS["layers"],
            "l_max": OPTIONS["degree"],
            "num_features": 32,
            "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
            "per_type_energy_scales": "${training_data_stats:forces_rms}",
            "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
        },
    },
    "global_options": {"allow_tf32": False},
}
(run / "config.yaml").write_text(json.dumps(configuration, indent=1))
sys.argv = ["nequip-train", "-cp", str(run.resolve()), "-cn", "config", f"hydra.run.dir={run}/hydra"]
if (run / "last.ckpt").exists():
    sys.argv.append(f"++ckpt_path={run.resolve()}/last.ckpt")
main()
