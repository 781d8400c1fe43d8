"""The layout ``ilsvrc``: ILSVRC CLS-LOC, as released."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from looktwice.datasets.classes import Classes, read_classes
from looktwice.datasets.files import half_open, list_ids, read_csv, read_lines
from looktwice.datasets.items import Item, Log, Request, xml_items
from looktwice.errors import DatasetError


def read(request: Request, log: Log) -> tuple[Iterable[Item], Classes]:
    """Reads Data, Annotations and ImageSets, in the root or in its folder ILSVRC.

    Each line of the list of images is "id number"; the number may be left out. The boxes come from the folder of XML
    annotations. If it is missing, they come from LOC_SPLIT_solution.csv, which does not state the sizes of the images.

    Args:
        request: SPLIT is "val" by default. Without a classes file, LOC_synset_mapping.txt gives the class indices: its
            line n is class n - 1.
        log: takes problems and notes.

    Returns:
        One item for each image, and the classes.

    Raises:
        DatasetError: the list of images or the classes are missing; or the boxes are, and images without a label are
            not kept.
    """
    split = request.split or "val"
    base = request.root / "ILSVRC" if (request.root / "ILSVRC").is_dir() else request.root

    def image(name: str) -> Path:
        return base / "Data" / "CLS-LOC" / split / f"{name}.JPEG"

    lines = read_lines(base / "ImageSets" / "CLS-LOC" / f"{split}.txt")
    ids = list_ids(lines, "[0-9]+", lambda name: request.folders.have(image(name)))
    paths = [(name, image(name)) for name in ids]
    classes = read_classes(request.classes or request.root / "LOC_synset_mapping.txt")
    annotations = base / "Annotations" / "CLS-LOC" / split
    solution = request.root / f"LOC_{split}_solution.csv"
    if annotations.is_dir():
        return xml_items(request, paths, annotations, 0, log), classes
    if solution.exists():
        return _solution_items(paths, solution, log), classes
    if request.unlabelled:
        return (Item(name, image, annotations, ()) for name, image in paths), classes
    raise DatasetError(f"no boxes found: {annotations} (XML) or {solution} is needed; check folder and split")


def _solution_items(paths: Iterable[tuple[str, Path]], file: Path, log: Log) -> Iterator[Item]:
    rows: dict[str, str] = {}
    for number, cells in read_csv(
        file, lambda line, why: log.problem(file, f"line {line} is not CSV: {why}; left out")
    ):
        if len(cells) != 2:
            log.problem(file, f"line {number}: 'ImageId,PredictionString' is needed, not {','.join(cells)!r}; left out")
        elif cells[0].strip() in rows:
            log.problem(file, f"{cells[0].strip()} is listed twice; the first is kept")
        else:
            rows[cells[0].strip()] = cells[1]
    for name, image in paths:
        words = rows.get(name, "").split()
        groups = [words[start : start + 5] for start in range(0, len(words), 5)]
        try:
            objects = [(synset, half_open(numbers, first_pixel=0)) for synset, *numbers in groups]
        except ValueError:
            log.problem(file, f"{name}: needs 'synset x1 y1 x2 y2' for each box, not {rows[name]!r}; left out")
            continue
        yield Item(name, image, file, objects)
