"""A finished run made without a network: maps are blobs put where the test wants them."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from looktwice import atomic_files
from looktwice.datasets import load_dataset
from looktwice.evaluation.chunks import Chunk, EvaluationImage, MeasurementPlan, TargetClass
from looktwice.evaluation.measure import write_chunk
from looktwice.images import Window
from looktwice.localization import BoxRule
from looktwice.runs import folder as runs
from looktwice.runs.columns import BASELINES
from looktwice.runs.manifest import About, Manifest
from looktwice.runs.part_checks import options_of
from looktwice.runs.scoring import Scoring
from looktwice.runs.summarise import summarise

METHODS = ("gradient", "feedback", "global_feedback")
EVIL = "<script>alert(1)</script>"
"""A class that must never run."""
EVIL_FILE = '7 <img src=x onerror=alert(2)> & "$x$".png'
CLASSES = ("tabby cat", "espresso", EVIL)
IMAGES, TUNING, BATCH = 14, 4, 4
WIDTH, HEIGHT = 96, 64
NEAR, FAR = (34.0, 27.0), (80.0, 8.0)
"""Middles of blobs that find the object, and that do not, in pixels of the image."""


def blob(middle, spread=9.0):
    """A map (32, 32) of an image whose whole it covers."""
    x = (np.arange(32) + 0.5) * WIDTH / 32
    y = (np.arange(32) + 0.5) * HEIGHT / 32
    distance = (x[None] - middle[0]) ** 2 + (y[:, None] - middle[1]) ** 2
    return np.exp(-distance / (2 * spread**2)).astype(np.float32)


def finds(method, number):
    """Who finds the object in which image: in every image but each third all do, in those one or none."""
    if number % 3:
        return True
    return {"feedback": number % 2 == 1, "global_feedback": number % 4 == 0}.get(method, False)


def make_data(folder, largest=(20, 14, 48, 40)):
    """Fourteen pictures with one to three boxes each, listed in a CSV file; classes and one file have odd names."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(IMAGES):
        name = EVIL_FILE if number == 7 else f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(folder / name)
        label = CLASSES[number % 3]
        listed = '"' + name.replace('"', '""') + '"'
        lines.append(f"{listed},{label},{','.join(map(str, largest))}")
        lines += [f"{listed},{label},{x},50,{x + 6},56" for x in (2, 10)[: number % 3 if number > 9 else 0]]
    (folder / "images.csv").write_text("\n".join(["image,label,x1,y1,x2,y2", *lines]) + "\n")
    (folder / "classes.json").write_text(json.dumps({name: index for index, name in enumerate(CLASSES)}))
    return folder


def make_run(folder, data, *, maps=True, network="squeezenet1_1", methods=METHODS, target="true", boxes="largest"):
    """The run of a data set: thresholds chosen on the first images, maps kept where wanted."""
    dataset = load_dataset(data, "csv", classes=data / "classes.json")
    assert not dataset.problems
    rule = BoxRule("contour")
    run = {
        "model": {"name": network, "weights_hash": "0123456789abcdef" * 4, "classes": len(CLASSES)},
        "preprocessing": {"resize": 32, "crop": 32, "squash": True},
        "data": {"fingerprint": dataset.fingerprint(), "samples": IMAGES, "problems": 0},
        "images": {"count": IMAGES, "limit": None, "seed": 0, "tuning_share": 0.3},
        "methods": {method: {} for method in methods},
        "baselines": {name: dict(values) for name, values in BASELINES.items()},
        "target": target,
        "box": {"rule": "contour", "threshold": 0.2, "by": "max", "smallest": 0.01, "boxes": boxes}
        | {"thresholds": None},
        "batch_size": BATCH,
        "save": {"maps": maps, "npy": False},
    }
    about = {name: value for name, value in asdict(dataset.source).items() if value is not None}
    about |= {"command": "looktwice evaluate"}
    about |= {"weights": "weights.safetensors", "begun": "2026-01-02T03:04:05+00:00", "device": "a machine"}
    manifest = Manifest(About.of(about), Manifest.from_json({"run": run}).run)
    runs.open_run(folder, manifest)
    everyone = (*methods, *BASELINES)
    options = options_of(manifest)
    sheet = MeasurementPlan(folder, dict.fromkeys(everyone, rule), options, maps, identity=manifest.identity)
    for part, start in enumerate(range(0, IMAGES, BATCH)):
        write_chunk(sheet, _chunk(part, start, dataset.samples[start : start + BATCH], methods))
    scoring = Scoring.of_manifest(manifest)
    rows = runs.read_rows(folder, range(part + 1), scoring.columns)
    atomic_files.write_json(folder / "summary.json", summarise(rows, scoring).as_json())
    return folder


def _chunk(part, start, samples, methods):
    pictures, guesses = [], []
    for index, sample in enumerate(samples):
        number = start + index
        window = Window.whole(WIDTH, HEIGHT)
        pictures.append(EvaluationImage(sample, number, number < TUNING, window))
        label = sample.labels[0]
        right = number % 4 != 3
        predicted = label if right else (label + 1) % 3
        guesses.append(TargetClass(index, 0, label, 0 if right else 1, 0.7, predicted, 0.8, 0 if right else 1))
    heats = {
        method: np.stack([blob(NEAR if finds(method, start + i) else FAR) for i in range(len(samples))])
        for method in methods
    }
    seconds = {method: [0.1 * (place + 1)] * len(samples) for place, method in enumerate(methods)}
    return Chunk(part, tuple(pictures), tuple(guesses), heats, heats, seconds, (32, 32))


def make_older(run, folder):
    """A copy of a run as an older version would have written it: without the boxes at every threshold."""
    shutil.copytree(run, folder)
    for part in (folder / "rows").iterdir():
        table = pq.read_table(part, partitioning=None)
        pq.write_table(table.drop(["largest_boxes"]).replace_schema_metadata(None), part)
    for file in folder.glob("maps/*"):
        with np.load(file) as arrays:
            kept = dict(arrays)
        np.savez(file, **kept)  # their run is told in the archive's comment
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["identity"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
