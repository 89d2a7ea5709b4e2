"""A source training to be run by hand: images of noise, a small network, its description."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from scalewise.artifacts import images_csv, labels_csv
from scalewise.artifacts.hashing import content_hash
from scalewise.models.precision import FLOAT32

CLASSES = ["road", "car", "sky"]
SIZE = (96, 192)


def write_training(folder: Path, steps: int) -> Path:
    """Write images twice as large as the working size, labels, and the description; returns the
    path of that. All augmentations are on."""
    draws = np.random.default_rng(0)
    images, labels = [], []
    height, width = 2 * SIZE[0], 2 * SIZE[1]
    for k in range(8):
        image, label = f"{k}.png", f"{k}_label.png"
        pixels = draws.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / image)
        ids = draws.integers(0, len(CLASSES), (height, width), np.uint8)
        Image.fromarray(ids).save(folder / label)
        hashes = [content_hash(folder / name) for name in (image, label)]
        images.append(images_csv.ImageRow(f"i{k}", image, width, height, hashes[0]))
        labels.append(
            labels_csv.LabelRow(f"i{k}", label, width, height, hashes[1], 0, (1,) * len(CLASSES))
        )
    images_csv.write(folder / "images.csv", images)
    labels_csv.write(folder / "labels.csv", labels, CLASSES)
    settings = {
        "classes": CLASSES, "size": SIZE, "source_size": SIZE, "seed": 0,
        "label_ids": {str(k): k for k in range(len(CLASSES))},
        "network": {
            "name": "compact", "width": 16, "dropout": 0.1,
            "preprocessing": {"order": "rgb", "mean": [120] * 3, "scale": [60] * 3},
        },
        "precision": FLOAT32, "steps": steps, "batch": 4, "freeze_batchnorm": False,
        "rare_classes": None,
        "optimizer": {
            "name": "adam", "learning_rate": 1e-3, "weight_decay": 0, "momentum": 0.9,
            "beta2": 0.999, "bias_rate": 1, "classifier_rate": 1,
        },
        "schedule": {"name": "constant", "warmup": 0},
        "augmentation": {
            "flip": True, "scale": [0.5, 2], "brightness": 0.2, "contrast": 0.2, "saturation": 0.2,
            "channel_gain": 0.2, "gamma": 0.2, "blur": 1,
        },
    }  # fmt: skip
    inputs = {f"source_{kind}": {"path": f"{kind}.csv"} for kind in ("images", "labels")}
    description = {
        "stage": "train_source", "key": "0" * 16, "title": "a small training", "users": [],
        "folder": "trained", "settings": settings, "contents": {}, "code": "", "identity": "",
        "inputs": inputs, "locations": {"source": "."},
    }  # fmt: skip
    (folder / "trained").mkdir()
    path = folder / "stage.json"
    path.write_text(json.dumps(description))
    return path
