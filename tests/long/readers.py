"""The readers that get broken files: where their good files lie, how these are broken, and who reads them."""

import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import mutations
import numpy as np
from PIL import Image

from looktwice.datasets import Dataset, known_classes, load_dataset
from looktwice.images import MAX_PIXELS, read_image

Files = Mapping[Path, bytes]


@dataclass(frozen=True)
class Reader:
    """One kind of file.

    Attributes:
        files: writes a good data set, picture or run into a folder → the files that are broken, one in each case.
        damage: breaks the content of a file.
        read: reads the folder. It gets the broken file and the source of chance.
    """

    files: Callable[[Path], Files]
    damage: Callable[[Random, bytes], bytes]
    read: Callable[[Path, Path, Random], object]


def _write(folder: Path, files: Mapping[str, str | bytes]) -> dict[Path, bytes]:
    made = {}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made[path] = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(made[path])
    return made


def _only(files: Files, *names: str) -> Files:
    return {path: content for path, content in files.items() if path.name in names}


# Data sets. The pictures in them are empty files, because no picture is opened.

XML = (
    "<annotation><folder>x</folder><size><width>100</width><height>80</height><depth>3</depth></size>"
    "<object><name>{0}</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>50</xmax><ymax>40</ymax>"
    "</bndbox></object><object><name>{0}</name><difficult>1</difficult><bndbox><xmin>10</xmin><ymin>5</ymin>"
    "<xmax>90.5</xmax><ymax>80</ymax></bndbox></object></annotation>"
)


def _voc(folder: Path) -> Files:
    files = _write(
        folder,
        {
            "ImageSets/Main/val.txt": "a\nb 1\nc d\n",
            "Annotations/a.xml": XML.format("cat"),
            "Annotations/b.xml": XML.format("dog"),
            "JPEGImages/a.jpg": "",
            "JPEGImages/b.jpg": "",
        },
    )
    return _only(files, "a.xml", "val.txt")


def _ilsvrc(folder: Path) -> Files:
    files = _write(
        folder,
        {
            "LOC_synset_mapping.txt": "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n",
            "ImageSets/CLS-LOC/val.txt": "a 1\nb 2\n",
            "Annotations/CLS-LOC/val/a.xml": XML.format("n01440764"),
            "Annotations/CLS-LOC/val/b.xml": XML.format("n02012849"),
            "Data/CLS-LOC/val/a.JPEG": "",
            "Data/CLS-LOC/val/b.JPEG": "",
        },
    )
    return _only(files, "a.xml", "LOC_synset_mapping.txt")


def _solution(folder: Path) -> Files:
    files = _write(
        folder,
        {
            "LOC_synset_mapping.txt": "n01440764 tench, Tinca tinca\nn02012849 crane\n",
            "ImageSets/CLS-LOC/val.txt": "a 1\nb 2\n",
            "LOC_val_solution.csv": "ImageId,PredictionString\n"
            "a,n01440764 1 2 30 40 n01440764 5 6 7 8\nb,n02012849 0 0 9 9 \n",
            "Data/CLS-LOC/val/a.JPEG": "",
            "Data/CLS-LOC/val/b.JPEG": "",
        },
    )
    return _only(files, "LOC_val_solution.csv", "val.txt")


def _coco(folder: Path) -> Files:
    boxes = [
        {"image_id": 1, "category_id": 7, "bbox": [1, 2, 30, 40], "iscrowd": 0},
        {"image_id": 1, "category_id": 8, "bbox": [1.5, 2.5, 3, 4], "iscrowd": 1},
        {"image_id": 2, "category_id": 8, "bbox": [0, 0, 100, 80]},
    ]
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 80} for n in (1, 2)],
        "annotations": boxes,
        "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}],
    }
    files = _write(
        folder,
        {
            "annotations/instances_val2017.json": json.dumps(content),
            "classes.json": '{"cat": 281, "dog": null, "8": 3}',
            "val2017/1.jpg": "",
            "val2017/2.jpg": "",
        },
    )
    return _only(files, "instances_val2017.json")


def _classes(ending: str, content: str) -> Callable[[Path], Files]:
    def files(folder: Path) -> Files:
        _write(folder, {"images.csv": "image,label\na.jpg,cat\nb.jpg,dog\n", "a.jpg": "", "b.jpg": ""})
        return _write(folder, {f"classes{ending}": content})

    return files


def _wsol(folder: Path) -> Files:
    files = _write(
        folder,
        {
            "metadata/image_ids.txt": "x/a.jpg\nx/b.jpg\n",
            "metadata/class_labels.txt": "x/a.jpg,0\nx/b.jpg,1\n",
            "metadata/localization.txt": "x/a.jpg,1,2,30,40\nx/a.jpg,5,6,7,8\nx/b.jpg,0,0,99,79\n",
            "metadata/image_sizes.txt": "x/a.jpg,100,80\nx/b.jpg,100,80\n",
            "x/a.jpg": "",
            "x/b.jpg": "",
        },
    )
    return {path: content for path, content in files.items() if path.suffix == ".txt"}


def _csv(folder: Path) -> Files:
    rows = 'image,label,x1,y1,x2,y2\na.jpg,0,1,2,30,40\n"b, c.jpg",1,,,,\na.jpg,2,1.5,2.5,3,4\n'
    return _only(_write(folder, {"images.csv": rows, "a.jpg": "", "b, c.jpg": ""}), "images.csv")


def _tar(folder: Path) -> Files:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in (
            ("0.jpg", b"x" * 700),
            ("0.cls", b"1"),
            (f"{'d' * 120}/1.png", b"y"),
            (f"{'d' * 120}/1.json", b'{"label": "cat"}'),
            ("2.jpg", b"z"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return _write(folder, {"x.tar": content.getvalue()})


def _load_tar(folder: Path, broken: Path, chance: Random) -> None:
    dataset = load_dataset(broken, "webdataset", known=known_classes(["cat", "dog"]), unlabelled=chance.random() < 0.5)
    _check(dataset)
    for sample in dataset.samples:
        assert sample.content is not None
        assert len(sample.content.read()) <= len(broken.read_bytes())


def _load(layout: str, folder: Path, broken: Path, chance: Random, classes: str | None = None) -> None:
    _check(load_dataset(folder, layout, classes=folder / classes if classes else None, strict=chance.random() < 0.1))


def _load_classes(folder: Path, broken: Path, chance: Random) -> None:
    _check(load_dataset(folder / "images.csv", "csv", classes=broken))


def _check(dataset: Dataset) -> None:
    """What was read of a broken file must be usable: boxes have an area, problems have one line each."""
    for line in (*dataset.problems, *dataset.notes):
        assert len(line.splitlines()) == 1, line
        assert len(line) <= 500, len(line)
    for sample in dataset.samples:
        assert len(sample.labels) == len(sample.boxes), sample
        assert all(type(label) is int and label >= 0 for label in sample.labels), sample
        for box in (box for boxes in sample.boxes for box in boxes):
            assert np.isfinite(box).all(), sample
            assert box[0] < box[2], sample
            assert box[1] < box[3], sample


# Pictures.


def _pictures(folder: Path) -> Files:
    """A picture of a few pixels in each format and mode that ``read_image`` takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    colour, clear, gray = (Image.fromarray(pixels[..., part].copy()) for part in (slice(3), slice(4), 0))
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    palette = colour.quantize(4)
    turned = Image.Exif()
    turned[0x0112] = 6
    made = {
        "a.jpg": _saved(colour, "JPEG", exif=turned),
        "gray.jpg": _saved(gray, "JPEG"),
        "cmyk.jpg": _saved(colour.convert("CMYK"), "JPEG"),
        "progressive.jpg": _saved(colour, "JPEG", progressive=True),
        "a.png": _saved(colour, "PNG"),
        "clear.png": _saved(clear, "PNG", exif=turned),
        "deep.png": _saved(deep, "PNG"),
        "palette.png": _saved(palette, "PNG", transparency=1),
        "bits.png": _saved(gray.convert("1"), "PNG"),
        "moving.png": _saved(colour, "PNG", save_all=True, append_images=[gray.convert("RGB")]),
        "a.gif": _saved(palette, "GIF", save_all=True, append_images=[gray.convert("P")], transparency=0),
        "a.bmp": _saved(colour, "BMP"),
        "palette.bmp": _saved(palette, "BMP"),
        "clear.bmp": _saved(clear, "BMP"),
        "a.webp": _saved(clear, "WEBP", lossless=True),
        "lossy.webp": _saved(colour, "WEBP", exif=turned),
        "a.tif": _saved(colour, "TIFF"),
        "deep.tif": _saved(deep, "TIFF"),
        "float.tif": _saved(gray.convert("F"), "TIFF"),
        "whole.tif": _saved(gray.convert("I"), "TIFF"),
        "lzw.tif": _saved(clear, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": _saved(colour, "TIFF", compression="jpeg"),
        "fax.tif": _saved(gray.convert("1"), "TIFF", compression="group4"),
        "a.ppm": _saved(colour, "PPM"),
        "a.pgm": _saved(gray, "PPM"),
        "a.pbm": _saved(gray.convert("1"), "PPM"),
        "plain.ppm": b"P3\n2 2\n255\n1 2 3 4 5 6 7 8 9 10 11 12\n",
        "float.pfm": _saved(gray.convert("F"), "PPM"),
        "others.tga": _saved(colour, "TGA"),
        "others.ico": _saved(colour, "ICO"),
        "others.pcx": _saved(colour, "PCX"),
        "others.jp2": _saved(colour, "JPEG2000"),
        "others.eps": _saved(colour, "EPS"),
    }
    return _write(folder, made)


def _saved(image: Image.Image, kind: str, **choices: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **choices)
    return buffer.getvalue()


def _read_picture(folder: Path, broken: Path, chance: Random) -> None:
    # A wrong header often states a huge picture, which takes a while to decode. So most cases may be smaller.
    most = MAX_PIXELS if chance.random() < 0.002 else 100_000
    image = read_image(broken, upright=chance.random() < 0.5, max_pixels=most)
    assert image.mode == "RGB", image.mode
    assert image.width * image.height <= most, image.size


# Runs.


def _run_files(folder: Path, *, pattern: str, older: bool = False) -> Files:
    """The files of a finished run that fit a pattern; of a run as older versions wrote them, if that is asked for."""
    sys.path.append(str(Path(__file__).parents[1] / "helpers"))
    import report_runs

    report_runs.make_run(folder / "run", report_runs.make_data(folder / "data"))
    if older:
        report_runs.make_older(folder / "run", folder / "older")
        shutil.rmtree(folder / "run")
        (folder / "older").rename(folder / "run")
    return {path: path.read_bytes() for path in (folder / "run").glob(pattern)}


def _read_facts(folder: Path, broken: Path, chance: Random) -> None:
    from looktwice.report.finished_run import read_run
    from looktwice.runs.folder import read_finished

    read_finished(folder / "run")
    if chance.random() < 0.03:
        read_run(folder / "run")


def _read_part(folder: Path, broken: Path, chance: Random) -> None:
    from looktwice.runs.columns import COLUMNS
    from looktwice.runs.folder import part_fault, read_manifest, read_rows, row_schema
    from looktwice.runs.scoring import Scoring
    from looktwice.runs.summarise import summarise

    run = folder / "run"
    scoring = Scoring.of_manifest(read_manifest(run))
    part_fault(run, 0, [("a", "b")], row_schema(COLUMNS))
    rows = read_rows(run, [0], list(COLUMNS) if chance.random() < 0.2 else scoring.columns)
    if chance.random() < 0.1:
        summarise(rows, scoring)


def _read_maps(folder: Path, broken: Path, chance: Random) -> None:
    from looktwice.runs.saved_maps import read_maps

    read_maps(folder / "run", 0, None if chance.random() < 0.5 else {("0.png", 0)})


PART, MAPS = "rows/part-000000.parquet", "maps/part-000000.npz"

READERS: Mapping[str, Reader] = {
    "voc": Reader(_voc, mutations.broken_text, partial(_load, "voc")),
    "ilsvrc": Reader(_ilsvrc, mutations.broken_text, partial(_load, "ilsvrc")),
    "solution": Reader(_solution, mutations.broken_text, partial(_load, "ilsvrc")),
    "coco": Reader(_coco, mutations.broken_json, partial(_load, "coco", classes="classes.json")),
    "wsol": Reader(_wsol, mutations.broken_text, partial(_load, "wsol")),
    "csv": Reader(_csv, mutations.broken_text, partial(_load, "csv")),
    "tar": Reader(_tar, mutations.broken_bytes, _load_tar),
    "classes.json": Reader(_classes(".json", '{"cat": 281, "dog": null}'), mutations.broken_json, _load_classes),
    "classes.csv": Reader(_classes(".csv", "name,index\ncat,2\ndog,\n"), mutations.broken_text, _load_classes),
    "classes.txt": Reader(_classes(".txt", "n01440764 cat, kitty\ndog\n"), mutations.broken_text, _load_classes),
    "pictures": Reader(_pictures, mutations.broken_png, _read_picture),
    "manifest": Reader(partial(_run_files, pattern="manifest.json"), mutations.broken_json, _read_facts),
    "summary": Reader(partial(_run_files, pattern="summary.json"), mutations.broken_json, _read_facts),
    "parts": Reader(partial(_run_files, pattern=PART), mutations.broken_bytes, _read_part),
    "older parts": Reader(partial(_run_files, pattern=PART, older=True), mutations.broken_bytes, _read_part),
    "maps": Reader(partial(_run_files, pattern=MAPS), mutations.broken_npz, _read_maps),
    "older maps": Reader(partial(_run_files, pattern=MAPS, older=True), mutations.broken_npz, _read_maps),
}
"""Every reader by name."""
