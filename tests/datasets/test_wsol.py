"""The layout ``wsol``."""

import json
from pathlib import Path

import pytest

from layouts import ilsvrc, write, xml
from looktwice.datasets import (
    Sample,
    load_dataset,
)
from looktwice.errors import OptionError


def wsol(
    folder, *, ids="v/a.jpg\nv/b,1.jpg\n", labels="v/a.jpg,7\nv/b,1.jpg,0\n", sizes="v/a.jpg,60,50\nv/b,1.jpg,9,9\n"
):
    write(folder / "image_ids.txt", ids)
    write(folder / "class_labels.txt", labels)
    write(folder / "image_sizes.txt", sizes)
    write(folder / "localization.txt", "v/a.jpg,0,1,59,49\nv/b,1.jpg,2,2,2,3\nv/a.jpg,4,5,6,7\n")


def test_wsol_by_hand(tmp_path):
    wsol(tmp_path / "meta/test")
    root = tmp_path / "images"
    write(root / "v/a.jpg")
    write(root / "v/b,1.jpg")
    data = load_dataset(root, "wsol", metadata=tmp_path / "meta", split="test", strict=True)
    assert data.samples == (
        Sample("v/a.jpg", root / "v/a.jpg", (7,), (((0, 1, 60, 50), (4, 5, 7, 8)),), 60, 50),
        Sample("v/b,1.jpg", root / "v/b,1.jpg", (0,), (((2, 2, 3, 4),),), 9, 9),
    )
    assert load_dataset(root, "wsol", metadata=tmp_path / "meta/test").samples == data.samples


def test_wsol_in_the_root_without_sizes(tmp_path):
    wsol(tmp_path / "metadata")
    (tmp_path / "metadata/image_sizes.txt").unlink()
    write(tmp_path / "v/a.jpg")
    write(tmp_path / "v/b,1.jpg")
    data = load_dataset(tmp_path, "wsol", strict=True)
    assert [(s.id, s.width) for s in data.samples] == [("v/a.jpg", None), ("v/b,1.jpg", None)]


def test_wsol_and_ilsvrc_of_one_image_agree(tmp_path):
    """Both hold the same numbers for the same image (validation image 1 of ILSVRC: 111, 108, 441, 193)."""
    one = load_dataset(ilsvrc(tmp_path / "i", {"A": xml(("n01440764", 111, 108, 441, 193), size=(500, 375))}), "ilsvrc")
    write(tmp_path / "w/A.JPEG")
    for name, line in {
        "image_ids": "",
        "class_labels": ",0",
        "image_sizes": ",500,375",
        "localization": ",111,108,441,193",
    }.items():
        write(tmp_path / f"w/metadata/{name}.txt", f"A.JPEG{line}\n")
    two = load_dataset(tmp_path / "w", "wsol")
    assert one.samples[0].boxes == two.samples[0].boxes == (((111.0, 108.0, 442.0, 194.0),),)


def test_wsol_faults(tmp_path):
    wsol(
        tmp_path / "metadata",
        ids="v/a.jpg\nv/c.jpg\nv/d.jpg\nv/a.jpg\nv/e.jpg\n",
        labels="v/a.jpg,7\nv/c.jpg,3\nv/d.jpg,x\nv/e.jpg,1\n",
    )
    for name in "acd":
        write(tmp_path / f"v/{name}.jpg")
    data = load_dataset(tmp_path, "wsol")
    assert [(s.id, s.labels, len(s.boxes[0])) for s in data.samples] == [("v/a.jpg", (7,), 2), ("v/c.jpg", (3,), 0)]
    assert [" ".join(line.split()[:2]) for line in data.problems] == [
        f"{Path('metadata/class_labels.txt')}: 'v/d.jpg,x'",  # the label x
        f"{Path('metadata/localization.txt')}: v/c.jpg",  # no box, kept
        f"{Path('metadata/class_labels.txt')}: v/d.jpg",  # so no label
        f"{Path('metadata/localization.txt')}: v/a.jpg",  # twice
        f"{Path('metadata/localization.txt')}: v/e.jpg",
        f"{Path('v/e.jpg')}: the",  # missing
    ]


def test_wsol_labels_through_a_classes_file(tmp_path):
    wsol(tmp_path / "metadata")
    write(tmp_path / "v/a.jpg")
    write(tmp_path / "v/b,1.jpg")
    classes = write(tmp_path / "classes.json", json.dumps({"7": 340}))
    data = load_dataset(tmp_path, "wsol", classes=classes)
    assert [s.labels for s in data.samples] == [(340,)]
    assert "v/b,1.jpg: unknown class '0'" in data.problems[0]
    names = write(tmp_path / "names.txt", "zero\n" + "more\n" * 7)
    data = load_dataset(tmp_path, "wsol", classes=names)
    assert [s.labels for s in data.samples] == [(7,), (0,)]
    assert data.class_names[0] == "zero"


def test_metadata_belongs_to_wsol(tmp_path):
    with pytest.raises(OptionError, match="wsol"):
        load_dataset(tmp_path, "voc", metadata=tmp_path)


def test_ids_with_blanks_and_commas_are_whole(tmp_path):
    names = ["v/my cat.jpg", "v/my.jpg", "v/a, b 2.jpg", "v/a.jpg"]
    rows = {"image_ids": "", "class_labels": ",{n}", "image_sizes": ",9,9", "localization": ",{n},0,5,5"}
    for file, tail in rows.items():
        lines = [f"{name}{tail.format(n=number)}\n" for number, name in enumerate(names)]
        write(tmp_path / f"metadata/{file}.txt", "".join(lines))
    for name in names:
        write(tmp_path / name)
    data = load_dataset(tmp_path, "wsol", strict=True)
    assert [(s.id, s.labels, s.boxes[0][0][0]) for s in data.samples] == [
        (name, (n,), n) for n, name in enumerate(names)
    ]


def test_one_image_by_two_spellings_of_its_path(tmp_path):
    wsol(tmp_path / "metadata", ids="./v/a.jpg\nv/a.jpg\nv//b,1.jpg\n")
    write(tmp_path / "v/a.jpg")
    write(tmp_path / "v/b,1.jpg")
    data = load_dataset(tmp_path, "wsol")
    assert [(s.id, s.labels, len(s.boxes[0]), s.width) for s in data.samples] == [
        ("v/a.jpg", (7,), 2, 60),
        ("v/b,1.jpg", (0,), 1, 9),
    ]
    assert len(data.problems) == 1
    assert "v/a.jpg is listed twice" in data.problems[0]


def test_two_labels_or_sizes_of_one_image(tmp_path):
    wsol(
        tmp_path / "metadata",
        labels="v/a.jpg,7\nv/b,1.jpg,0\nv/a.jpg,3\nv/a.jpg,7\n",
        sizes="v/a.jpg,60,50\nv/a.jpg,6,5\n",
    )
    write(tmp_path / "v/a.jpg")
    write(tmp_path / "v/b,1.jpg")
    data = load_dataset(tmp_path, "wsol")
    assert [(s.id, s.labels, s.width) for s in data.samples] == [("v/a.jpg", (7,), 60), ("v/b,1.jpg", (0,), None)]
    assert [line.partition(": ")[0] for line in data.problems] == [
        "metadata/class_labels.txt",
        "metadata/image_sizes.txt",
    ]
