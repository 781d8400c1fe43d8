"""A finished run made without a network: maps are blobs put where the test wants them."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from looktwice import atomic_files
from looktwice.datasets import Sample, load_dataset
from looktwice.evaluation.chunks import Chunk, EvaluationImage, Faithfulness, MeasurementPlan, TargetClass
from looktwice.evaluation.measure import write_chunk
from looktwice.images import Window
from looktwice.localization import BoxRule
from looktwice.metrics.judged_maps import Thresholds
from looktwice.runs import folder as runs
from looktwice.runs.columns import BASELINES, columns_of
from looktwice.runs.json_forms import to_json
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


def make_data(folder, largest=(20, 14, 48, 40), *, images=IMAGES, classes=CLASSES, boxed=True):
    """Pictures with one to three boxes each, listed in a CSV file; classes and one file have odd names.

    ``boxed=False`` leaves the boxes out.
    """
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(images):
        name = EVIL_FILE if number == 7 else f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(folder / name)
        label = classes[number % len(classes)]
        listed = '"' + name.replace('"', '""') + '"'
        lines.append(f"{listed},{label},{','.join(map(str, largest if boxed else [''] * 4))}")
        if not boxed:
            continue
        lines += [f"{listed},{label},{x},50,{x + 6},56" for x in (2, 10)[: number % 3 if number > 9 else 0]]
    (folder / "images.csv").write_text("\n".join(["image,label,x1,y1,x2,y2", *lines]) + "\n")
    (folder / "classes.json").write_text(json.dumps({name: index for index, name in enumerate(classes)}))
    return folder


def make_run(
    folder,
    data,
    *,
    maps=True,
    network="squeezenet1_1",
    methods=METHODS,
    options=None,
    target="true",
    boxes="largest",
    rule="contour",
    faithful=False,
    told=None,
    right=lambda number: number % 4 != 3,
):
    """The run of a data set: thresholds chosen on the first images if there are boxes, maps kept where wanted.

    ``told`` is told in the manifest besides. ``right`` says for which images the network's first guess is right.
    """
    dataset = load_dataset(data, "csv", classes=data / "classes.json")
    assert not dataset.problems
    box = BoxRule(rule)
    names = (*methods, *BASELINES)
    boxed = any(sample.boxes_of(label) for sample in dataset.samples for label in sample.labels)
    facts = {
        "images": {"count": len(dataset.samples), "limit": None, "seed": 0, "tuning_share": 0.3},
        "baselines": {name: dict(values) for name, values in BASELINES.items()},
        "target": target,
        "box": box.as_dict()
        | {"boxes": boxes}
        | {"thresholds": None if boxed else {name: to_json(Thresholds(0.2)) for name in names}},
        "save": {"maps": maps, "npy": False},
    }
    if options is not None:
        facts["methods"] = {method: options.get(method, {}) for method in methods}
    if faithful:
        facts["faithfulness"] = {"steps": 10, "blur": 0.1}
    manifest = _begin(folder, dataset, network, methods, facts, told or {})
    sheet = MeasurementPlan(
        folder,
        dict.fromkeys(names, box),
        options_of(manifest),
        maps,
        identity=manifest.identity,
        columns=columns_of(manifest.run),
    )
    for part, start in enumerate(range(0, len(dataset.samples), BATCH)):
        chunk = _chunk(part, start, dataset.samples[start : start + BATCH], methods, right)
        write_chunk(sheet, replace(chunk, faithfulness=_faithfulness(chunk, names)) if faithful else chunk)
    return _finish(folder, manifest)


def make_grid_run(folder, data, *, squares=3, methods=METHODS):
    """A grid pointing game of the first images of a data set, four in a square."""
    dataset = load_dataset(data, "csv", classes=data / "classes.json")
    own = [dataset.samples[4 * number : 4 * number + 4] for number in range(squares)]
    cells = [[{"sample": sample.id, "label": sample.labels[0]} for sample in square] for square in own]
    facts = {
        "images": {"count": squares, "limit": None, "seed": 0, "tuning_share": None},
        "baselines": {"full_image": {}},
        "target": "true",
        "box": {"thresholds": {name: to_json(Thresholds(0.2)) for name in (*methods, "full_image")}},
        "grid": {"wanted": squares, "min_probability": 0.7, "halved": False, "squares": cells, "unreadable": []},
    }
    manifest = _begin(folder, dataset, "squeezenet1_1", methods, facts, {})
    rules = dict.fromkeys((*methods, "full_image"), BoxRule("contour"))
    sheet = MeasurementPlan(folder, rules, options_of(manifest), identity=manifest.identity)
    for part, start in enumerate(range(0, squares, BATCH)):
        write_chunk(sheet, _chunk_of_squares(part, start, own[start : start + BATCH], methods))
    return _finish(folder, manifest)


def _begin(folder, dataset, network, methods, facts, told):
    run = {
        "model": {"name": network, "weights_hash": "0123456789abcdef" * 4, "classes": len(dataset.class_names)},
        "preprocessing": {"resize": 32, "crop": 32, "squash": True},
        "data": {"fingerprint": dataset.fingerprint(), "samples": len(dataset.samples), "problems": 0},
        "methods": {method: {} for method in methods},
        "batch_size": BATCH,
        **facts,
    }
    about = {name: value for name, value in asdict(dataset.source).items() if value is not None}
    about |= {"command": "looktwice evaluate"}
    about |= {"weights": "weights.safetensors", "begun": "2026-01-02T03:04:05+00:00", "device": "a machine"}
    manifest = Manifest(About.of(about | told), Manifest.from_json({"run": run}).run)
    runs.open_run(folder, manifest)
    return manifest


def _finish(folder, manifest):
    scoring = Scoring.of_manifest(manifest)
    rows = runs.read_rows(folder, manifest.run.parts, scoring.columns)
    atomic_files.write_json(folder / "summary.json", summarise(rows, scoring).as_json())
    return folder


def _chunk(part, start, samples, methods, right):
    pictures, guesses = [], []
    classes = max(3, *(label + 1 for sample in samples for label in sample.labels))
    for index, sample in enumerate(samples):
        number = start + index
        window = Window.whole(WIDTH, HEIGHT)
        pictures.append(EvaluationImage(sample, number, number < TUNING, window))
        label = sample.labels[0]
        is_right = right(number)
        predicted = label if is_right else (label + 1) % classes
        guesses.append(TargetClass(index, 0, label, 0 if is_right else 1, 0.7, predicted, 0.8, 0 if is_right else 1))
    heats = {
        method: np.stack([blob(NEAR if finds(method, start + i) else FAR) for i in range(len(samples))])
        for method in methods
    }
    seconds = {method: [0.1 * (place + 1)] * len(samples) for place, method in enumerate(methods)}
    return Chunk(part, tuple(pictures), tuple(guesses), heats, heats, seconds, (32, 32))


def _faithfulness(chunk, names):
    """Better for each method than for the one before it."""
    orders = [image.order for image in chunk.images]
    return {
        name: [Faithfulness(0.2 + 0.1 * place + order / 1000, 0.6 - 0.1 * place - order / 1000) for order in orders]
        for place, name in enumerate(names)
    }


def _chunk_of_squares(part, start, squares, methods):
    """Global feedback's maps lie in the quarter of their class, all others in the upper left one."""
    pictures, guesses, places = [], [], []
    for index, square in enumerate(squares):
        quarters = [((x, y, x + 48.0, y + 32.0),) for y in (0.0, 32.0) for x in (0.0, 48.0)]
        labels = tuple(sample.labels[0] for sample in square)
        name = " + ".join(sample.id for sample in square)
        whole = Sample(name, square[0].image, labels=labels, boxes=tuple(quarters), width=WIDTH, height=HEIGHT)
        image = EvaluationImage(whole, start + index, False, Window.whole(WIDTH, HEIGHT), cells=tuple(square))
        pictures.append(image)
    for place in range(4):
        for index, image in enumerate(pictures):
            label = image.sample.labels[place]
            guesses.append(TargetClass(index, 0, label, 0, 0.7, label, 0.8, 0))
            places.append((24.0 + 48 * (place % 2), 16.0 + 32 * (place // 2)))
    upper_left = (24.0, 16.0)
    heats = {
        method: np.stack([blob(middle if method == "global_feedback" else upper_left, 5.0) for middle in places])
        for method in methods
    }
    seconds = {method: [0.1 * (place + 1)] * len(places) for place, method in enumerate(methods)}
    return Chunk(part, tuple(pictures), tuple(guesses), heats, heats, seconds, (32, 32))


def half_older(run, folder):
    """A copy of a run that an older version began, which kept no small maps, and that this version finished."""
    parts = sorted((make_older(run, folder) / "rows").iterdir())
    for part in parts[len(parts) // 2 :]:
        shutil.copy(run / "rows" / part.name, part)
        table = pq.read_table(part, partitioning=None)
        pq.write_table(table.replace_schema_metadata(None), part)
    return folder


def make_older(run, folder):
    """A copy of a run as an older version would have written it: no boxes at every threshold, no small maps."""
    shutil.copytree(run, folder)
    for part in (folder / "rows").iterdir():
        table = pq.read_table(part, partitioning=None)
        pq.write_table(table.drop(["largest_boxes", "small_map"]).replace_schema_metadata(None), part)
    for file in folder.glob("maps/*"):
        with np.load(file) as arrays:
            kept = dict(arrays)
        np.savez(file, **kept)  # their run is told in the archive's comment
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["identity"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
