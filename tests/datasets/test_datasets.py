"""Every layout and every fault on data sets small enough to work out by hand; images are empty files, never opened."""

import itertools
import json
import os
import random
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import looktwice
from looktwice.datasets import (
    LAYOUTS,
    VOC_CLASSES,
    Dataset,
    Sample,
    files,
    fit_to_image,
    load_dataset,
    shuffled,
    split_by_hash,
)
from looktwice.errors import DatasetError, OptionError


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def xml(*objects, size=(100, 80)):
    """A VOC-style annotation; an object is (name, xmin, ymin, xmax, ymax[, difficult])."""
    parts = ["<annotation><folder>x</folder>"]
    if size:
        parts.append(f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for name, x1, y1, x2, y2, *difficult in objects:
        parts.append(
            f"<object><name>{name}</name><difficult>{int(bool(difficult))}</difficult><bndbox>"
            f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        )
    return "".join([*parts, "</annotation>"])


SYNSETS = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"


def ilsvrc(root, annotations, *, base=None, images=None):
    """The official layout with XML files; `annotations` maps id to the XML text."""
    base = base or root
    write(root / "LOC_synset_mapping.txt", SYNSETS)
    write(base / "ImageSets/CLS-LOC/val.txt", "".join(f"{name} {n}\n" for n, name in enumerate(annotations, 1)))
    for name, text in annotations.items():
        write(base / f"Annotations/CLS-LOC/val/{name}.xml", text)
    for name in annotations if images is None else images:
        write(base / f"Data/CLS-LOC/val/{name}.JPEG")
    return root


TENCH = ("n01440764", 0, 0, 49, 39)  # 50 columns and 40 rows from the corner


# --- ilsvrc


def test_ilsvrc_by_hand(tmp_path):
    root = ilsvrc(
        tmp_path,
        {
            "B": xml(("n03126707", 10, 20, 30, 40), ("n01440764", 5, 6, 5, 6), ("n03126707", 0, 0, 99, 79)),
            "A": xml(TENCH, size=(50, 40)),
        },
    )
    data = load_dataset(root, "ilsvrc", strict=True)
    assert data.samples == (
        Sample(
            "B",
            root / "Data/CLS-LOC/val/B.JPEG",
            (2, 0),
            (((10.0, 20.0, 31.0, 41.0), (0.0, 0.0, 100.0, 80.0)), ((5.0, 6.0, 6.0, 7.0),)),
            100,
            80,
        ),
        Sample("A", root / "Data/CLS-LOC/val/A.JPEG", (0,), (((0.0, 0.0, 50.0, 40.0),),), 50, 40),
    )
    assert data.samples[0].boxes_of(0) == ((5.0, 6.0, 6.0, 7.0),)
    assert data.samples[0].boxes_of(1) == ()
    assert data.class_names == {0: "tench, Tinca tinca", 1: "crane", 2: "crane"}
    assert data.problems == data.notes == ()


def test_ilsvrc_as_unpacked_with_its_own_folder(tmp_path):
    root = ilsvrc(tmp_path, {"A": xml(TENCH)}, base=tmp_path / "ILSVRC")
    assert load_dataset(root, "ilsvrc", strict=True).samples[0].image == root / "ILSVRC/Data/CLS-LOC/val/A.JPEG"


def test_ilsvrc_csv_agrees_with_xml(tmp_path):
    boxes = {
        "A": [("n01440764", 0, 0, 49, 39)],
        "B": [("n02012849", 3, 4, 5, 6), ("n03126707", 1, 1, 2, 2), ("n02012849", 9, 9, 9, 9)],
    }
    with_xml = load_dataset(ilsvrc(tmp_path / "x", {k: xml(*v) for k, v in boxes.items()}), "ilsvrc")
    root = tmp_path / "c"
    rows = [f"{k},{' '.join(' '.join(map(str, box)) for box in v)} \n" for k, v in reversed(boxes.items())]
    write(root / "LOC_synset_mapping.txt", SYNSETS)
    write(root / "LOC_val_solution.csv", "ImageId,PredictionString\n" + "".join(rows))
    write(root / "ImageSets/CLS-LOC/val.txt", "A 1\nB 2\n")
    for name in boxes:
        write(root / f"Data/CLS-LOC/val/{name}.JPEG")
    with_csv = load_dataset(root, "ilsvrc", strict=True)
    assert with_csv.fingerprint() == with_xml.fingerprint()
    assert [(s.id, s.labels, s.boxes, s.width) for s in with_csv.samples] == [
        (s.id, s.labels, s.boxes, None) for s in with_xml.samples
    ]


def test_ilsvrc_csv_faults(tmp_path):
    write(tmp_path / "LOC_synset_mapping.txt", SYNSETS)
    write(
        tmp_path / "LOC_val_solution.csv",
        "ImageId,PredictionString\nA,n01440764 1 2 3\nB,n01440764 1 2 3 4\nB,n01440764 5 5 6 6\nC,n01440764 1 2 x 4\n"
        "D,one,too many\n",
    )
    write(tmp_path / "ImageSets/CLS-LOC/val.txt", "A\nB\nC\nD\n")
    for name in "ABCD":
        write(tmp_path / f"Data/CLS-LOC/val/{name}.JPEG")
    data = load_dataset(tmp_path, "ilsvrc")
    assert [(s.id, s.boxes) for s in data.samples] == [("B", (((1.0, 2.0, 4.0, 5.0),),))]
    assert len(data.problems) == 5
    assert all(line.startswith("LOC_val_solution.csv: ") for line in data.problems)
    assert [line.split(": ")[1].split()[0] for line in data.problems] == ["B", "line", "A", "C", "D"]


def test_ilsvrc_one_pixel_over_is_the_annotation_tool(tmp_path):
    """Counted from 1, the last column of 100 is 100: one pixel too far when counted from 0, and no fault."""
    data = load_dataset(ilsvrc(tmp_path, {"A": xml(("n01440764", 1, 1, 100, 80))}), "ilsvrc", strict=True)
    assert data.samples[0].boxes == (((1.0, 1.0, 100.0, 80.0),),)


def test_ilsvrc_without_annotations_names_both_places(tmp_path):
    write(tmp_path / "LOC_synset_mapping.txt", SYNSETS)
    write(tmp_path / "ImageSets/CLS-LOC/val.txt", "A\n")
    with pytest.raises(DatasetError, match=r"Annotations.*LOC_val_solution\.csv"):
        load_dataset(tmp_path, "ilsvrc")


# --- what can be wrong with one image


BOMB = (
    '<!DOCTYPE b [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12))
    + "]><annotation><object><name>&m;</name></object></annotation>"
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "broken XML"),
        ("<annotation><object>", "broken XML"),
        ("not XML at all", "broken XML"),
        (xml(TENCH).replace("<xmin>0</xmin>", ""), "without <xmin>"),
        (xml(TENCH).replace("<xmin>0</xmin>", "<xmin>a\nb</xmin>"), "broken XML"),
        (xml(TENCH).replace("<name>n01440764</name>", "<name> </name>"), "without <name>"),
        ("<annotation><object><name>n01440764</name></object></annotation>", "without <bndbox>"),
        ('<?xml version="1.0" encoding="klingon"?>' + xml(TENCH), "broken XML"),
        (xml(), "no object"),
        (xml(("n99999999", 1, 1, 5, 5)), "unknown class 'n99999999'"),
        (BOMB, "DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + xml(TENCH), "DOCTYPE"),
    ],
)
def test_a_bad_annotation_costs_one_image_and_one_line(tmp_path, text, fault):
    root = ilsvrc(tmp_path, {"A": xml(TENCH), "BAD": text, "C": xml(TENCH)})
    data = load_dataset(root, "ilsvrc")
    assert [sample.id for sample in data.samples] == ["A", "C"]
    assert len(data.problems) == 1
    assert "\n" not in data.problems[0]
    assert data.problems[0].startswith(str(Path("Annotations/CLS-LOC/val/BAD.xml")) + ": ")
    assert fault in data.problems[0]
    with pytest.raises(DatasetError, match=r"BAD\.xml"):
        load_dataset(root, "ilsvrc", strict=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "iso-8859-1"])
def test_no_parser_sees_a_doctype(tmp_path, monkeypatch, encoding):
    """An expat without limits of its own would expand the bomb's 10¹² words before any handler could stop it."""
    root = ilsvrc(tmp_path, {"BAD": "", "C": xml(TENCH)})
    text = f'<?xml version="1.0" encoding="{encoding}"?>{BOMB}'
    (root / "Annotations/CLS-LOC/val/BAD.xml").write_bytes(text.encode(encoding))
    real, parsed = files.ElementTree.fromstring, []
    monkeypatch.setattr(files.ElementTree, "fromstring", lambda content: (parsed.append(content), real(content))[1])
    assert "DOCTYPE" in load_dataset(root, "ilsvrc").problems[0]
    assert parsed == [xml(TENCH).encode()]


def test_a_missing_annotation(tmp_path):
    root = ilsvrc(tmp_path, {"A": xml(TENCH), "B": xml(TENCH)})
    (root / "Annotations/CLS-LOC/val/A.xml").unlink()
    data = load_dataset(root, "ilsvrc")
    assert [sample.id for sample in data.samples] == ["B"]
    assert data.problems[0].startswith(str(Path("Annotations/CLS-LOC/val/A.xml")))


def test_a_missing_image(tmp_path):
    root = ilsvrc(tmp_path, {"A": xml(TENCH), "B": xml(TENCH)}, images=["B", "b"])
    data = load_dataset(root, "ilsvrc")
    assert [sample.id for sample in data.samples] == ["B"]
    assert data.problems == (f"{Path('Data/CLS-LOC/val/A.JPEG')}: the image is missing; left out",)
    with pytest.raises(DatasetError, match=r"A\.JPEG"):
        load_dataset(root, "ilsvrc", strict=True)


def test_a_repeated_id(tmp_path):
    root = ilsvrc(tmp_path, {"A": xml(TENCH), "B": xml(TENCH)})
    write(root / "ImageSets/CLS-LOC/val.txt", "A 1\nB 2\nA 3\nA 4\n")
    data = load_dataset(root, "ilsvrc")
    assert [sample.id for sample in data.samples] == ["A", "B"]
    assert len(data.problems) == 2
    assert all("A is listed twice" in line for line in data.problems)


def test_an_id_that_leads_out(tmp_path):
    root = ilsvrc(tmp_path, {"A": xml(TENCH), "../val/A": xml(TENCH)})
    data = load_dataset(root, "ilsvrc")
    assert [sample.id for sample in data.samples] == ["A"]
    assert "leads out" in data.problems[0]


@pytest.mark.parametrize(
    ("box", "kept", "fault"),
    [
        ((-5, 10, 19, 29), (0, 10, 20, 30), "reaches 5 px out of the 100×80 image; clipped"),
        ((10, -7, 19, 29), (10, 0, 20, 30), "reaches 7 px"),
        ((10, 10, 119, 29), (10, 10, 100, 30), "reaches 20 px"),
        ((10, 10, 19, 90), (10, 10, 20, 80), "reaches 11 px"),
        ((100, 10, 110, 20), None, "outside the 100×80 image; dropped"),
        ((10, -9, 20, -1), None, "outside"),
        ((30, 10, 20, 20), None, "empty"),
        (("nan", 10, 20, 20), None, "finite"),
        ((10, 10, "inf", 20), None, "finite"),
        ((10.5, 10, 20.25, 20), (10.5, 10, 21.25, 21), None),
    ],
)
def test_boxes_against_the_image(tmp_path, box, kept, fault):
    data = load_dataset(ilsvrc(tmp_path, {"A": xml(("n01440764", *box))}), "ilsvrc")
    assert data.samples[0].labels == (0,)  # the class stays though its box goes
    assert data.samples[0].boxes == ((kept,) if kept else (),)
    assert [fault in line and "A.xml" in line for line in data.problems] == ([True] if fault else [])


def test_a_size_of_zero_is_reported_and_not_believed(tmp_path):
    data = load_dataset(ilsvrc(tmp_path, {"A": xml(TENCH, size=(0, 0))}), "ilsvrc")
    assert data.samples[0].boxes == (((0.0, 0.0, 50.0, 40.0),),)
    assert data.samples[0].width is None
    assert "size of 0×0" in data.problems[0]


def test_no_size_is_no_fault(tmp_path):
    data = load_dataset(ilsvrc(tmp_path, {"A": xml(("n01440764", 0, 0, 499, 374), size=None)}), "ilsvrc", strict=True)
    assert (data.samples[0].width, data.samples[0].height) == (None, None)
    assert data.samples[0].boxes == (((0.0, 0.0, 500.0, 375.0),),)


def test_nothing_usable_is_an_error_that_shows_the_first_problem(tmp_path):
    root = ilsvrc(tmp_path, {"A": "<", "B": "<"})
    with pytest.raises(DatasetError, match=r"2 problems: .*A\.xml: broken XML"):
        load_dataset(root, "ilsvrc")


# --- fit_to_image


def test_fit_to_image_by_hand():
    sample = Sample(
        "a", Path("a.jpg"), (3, 1), (((-4.0, 0.0, 5.0, 5.0), (90.0, 0.0, 95.0, 5.0)), ((0.0, 0.0, 51.0, 5.0),))
    )
    fitted, faults = fit_to_image(sample, 50, 40)
    assert fitted == replace(sample, boxes=(((0, 0, 5, 5),), ((0, 0, 50, 5),)), width=50, height=40)
    assert len(faults) == 2
    assert "a.jpg: box (-4, 0, 5, 5) reaches 4 px out" in faults[0]
    assert "dropped" in faults[1]


def test_fit_to_image_says_that_the_stated_size_is_wrong():
    sample = Sample("a", Path("a.jpg"), (3,), (((0.0, 0.0, 5.0, 5.0),),), 500, 375)
    assert fit_to_image(sample, 500, 375) == (sample, ())
    fitted, faults = fit_to_image(sample, 375, 500)
    assert (fitted.width, fitted.height) == (375, 500)
    assert faults == ("a.jpg: the annotation states 500×375 pixels, the image has 375×500",)


coordinates = st.integers(-6, 12)


@given(st.tuples(coordinates, coordinates, coordinates, coordinates), st.integers(1, 7), st.integers(1, 7))
def test_clipping_keeps_exactly_the_pixels_inside(box, width, height):
    x1, y1, x2, y2 = box
    pixels = {(x, y) for x in range(x1, x2) for y in range(y1, y2)}
    inside = {(x, y) for x, y in pixels if 0 <= x < width and 0 <= y < height}
    fitted, faults = fit_to_image(Sample("a", Path("a"), (0,), ((tuple(map(float, box)),),)), width, height)
    found = {
        (x, y)
        for fit in fitted.boxes[0]
        for x in range(int(fit[0]), int(fit[2]))
        for y in range(int(fit[1]), int(fit[3]))
    }
    assert found == inside
    widened = {(x, y) for x in range(-1, width + 1) for y in range(-1, height + 1)}
    assert bool(faults) == (not inside or not pixels <= widened)


# --- wsol


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
        f"{Path('metadata/class_labels.txt')}: an",  # the label x
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


# --- voc


def voc(root, annotations):
    write(root / "ImageSets/Main/val.txt", "".join(f"{name}\n" for name in annotations))
    for name, text in annotations.items():
        write(root / f"Annotations/{name}.xml", text)
        write(root / f"JPEGImages/{name}.jpg")
    return root


def test_voc_by_hand(tmp_path):
    text = xml(("person", 1, 1, 100, 80), ("dog", 11, 21, 30, 40, "difficult"), ("person", 5.5, 6, 7, 8))
    data = load_dataset(voc(tmp_path, {"2007_000032": text}), "voc", strict=True)
    (sample,) = data.samples
    assert sample.image == tmp_path / "JPEGImages/2007_000032.jpg"
    assert sample.labels == (14, 11)
    assert sample.boxes == (((0, 0, 100, 80), (4.5, 5, 7, 8)), ((10, 20, 30, 40),))
    assert data.class_names[14] == "person"
    assert data.notes == ("Annotations: 1 objects marked difficult, kept like any other",)


def test_voc_names_are_the_twenty_in_order():
    assert len(set(VOC_CLASSES)) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


def test_voc_box_from_zero_is_one_pixel_over_and_no_fault(tmp_path):
    data = load_dataset(voc(tmp_path, {"a": xml(("dog", 0, 0, 10, 10))}), "voc", strict=True)
    assert data.samples[0].boxes == (((0, 0, 10, 10),),)


def test_voc_parts_are_no_objects(tmp_path):
    text = xml(("person", 1, 1, 50, 50)).replace(
        "</object>",
        "<part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>12</xmax><ymax>12</ymax></bndbox></part></object>",
    )
    data = load_dataset(voc(tmp_path, {"a": text}), "voc", strict=True)
    assert (data.samples[0].labels, data.samples[0].boxes) == ((14,), (((0, 0, 50, 50),),))


def test_voc_split_and_classes(tmp_path):
    root = voc(tmp_path, {"a": xml(("dog", 1, 1, 5, 5)), "b": xml(("cat", 1, 1, 5, 5), ("dog", 1, 1, 5, 5))})
    write(root / "ImageSets/Main/dog_test.txt", "b  1\na -1\n")
    classes = write(root / "classes.csv", "name,index\ncat,281\ndog,207\n")
    data = load_dataset(root, "voc", split="dog_test", classes=classes, strict=True)
    assert [(s.id, s.labels) for s in data.samples] == [("b", (281, 207)), ("a", (207,))]


def test_one_unknown_class_leaves_the_others(tmp_path):
    text = xml(("dog", 1, 1, 5, 5), ("gnu", 1, 1, 5, 5), ("gnu", 2, 2, 6, 6))
    data = load_dataset(voc(tmp_path, {"a": text}), "voc")
    assert data.samples[0].labels == (11,)
    assert len(data.problems) == 1
    assert "a.xml: a: unknown class 'gnu'" in data.problems[0]


# --- coco


def coco(root, *, images, annotations, mapping=None):
    categories = [{"id": 18, "name": "dog"}, {"id": 24, "name": "zebra"}, {"id": 1, "name": "person"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write(root / "annotations/instances_val2017.json", json.dumps(content))
    for image in images:
        if isinstance(image, dict) and "file_name" in image:
            write(root / "val2017" / image["file_name"])
    return write(root / "classes.json", json.dumps({"dog": 207, "24": 340, "person": None} | (mapping or {})))


def image(key, **size):
    return {"id": key, "file_name": f"{key:04d}.jpg"} | size


def box(key, category, *bbox, crowd=0):
    return {"image_id": key, "category_id": category, "bbox": list(bbox), "iscrowd": crowd}


def test_coco_by_hand(tmp_path):
    classes = coco(
        tmp_path,
        images=[image(7, width=100, height=50), image(3), image(4), image(5), image(6)],
        annotations=[
            box(3, 18, 1, 2, 3, 4),
            box(7, 24, 10.5, 20.25, 30, 10),
            box(7, 18, 0, 0, 100, 50),
            box(7, 24, 0, 0, 100, 50, crowd=1),
            box(7, 1, 0, 0, 5, 5),
            box(7, 24, 1, 1, 1, 1),
            box(5, 1, 0, 0, 5, 5),
            box(6, 18, 0, 0, 5, 5, crowd=1),
        ],
    )
    data = load_dataset(tmp_path, "coco", classes=classes, strict=True)
    assert data.samples == (
        Sample(
            "0007.jpg",
            tmp_path / "val2017/0007.jpg",
            (340, 207),
            (((10.5, 20.25, 40.5, 30.25), (1, 1, 2, 2)), ((0, 0, 100, 50),)),
            100,
            50,
        ),
        Sample("0003.jpg", tmp_path / "val2017/0003.jpg", (207,), (((1, 2, 4, 6),),)),
    )
    file = Path("annotations/instances_val2017.json")
    assert data.notes == (
        f"{file}: 2 crowd regions ignored",
        f"{file}: 2 images without an object left out",
        f"{tmp_path}: 1 images left out that show only classes without an index in the classes file",
    )
    assert data.class_names == {207: "dog", 340: "24"}


def test_coco_faults(tmp_path):
    classes = coco(
        tmp_path,
        images=[
            image(1, width=10, height=10),
            image(1),
            {"id": 9},
            image(2, width=float("inf"), height=1),
            image(3),
            5,
        ],
        annotations=[
            box(1, 18, 8, 8, 8, 8),
            box(1, 18, 3, 3, 0, 5),
            {"image_id": 1, "category_id": 18},
            box(1, 18, 1, 2, 3),
            None,
            box(77, 18, 1, 1, 1, 1),
            box(3, 99, 1, 1, 1, 1),
        ],
    )
    data = load_dataset(tmp_path, "coco", classes=classes)
    assert [(s.id, s.labels, s.boxes) for s in data.samples] == [("0001.jpg", (207,), (((8, 8, 10, 10),),))]
    file = Path("annotations/instances_val2017.json")
    assert [line.removeprefix(f"{file}: ")[:24] for line in data.problems] == [
        "annotation 2: needs imag",
        "annotation 3: needs imag",
        "annotation 4: needs imag",
        "0001.jpg: box (8, 8, 16,",
        "0001.jpg: box (3, 3, 3, ",
        "0001.jpg: the image id 1",
        "image 2: needs id, file_",
        "image 3: needs id, file_",
        "0003.jpg: unknown class ",
        "image 5: needs id, file_",
        "image id 77 is not among",
    ]


def test_coco_needs_a_classes_file_and_valid_json(tmp_path):
    classes = coco(tmp_path, images=[image(1)], annotations=[box(1, 18, 1, 1, 1, 1)])
    with pytest.raises(DatasetError, match="classes file"):
        load_dataset(tmp_path, "coco")
    for content in ('{"images": [', "[]", '{"images": [], "annotations": []}', '{"images": 1}'):
        write(tmp_path / "annotations/instances_val2017.json", content)
        with pytest.raises(DatasetError, match=r"instances_val2017\.json is"):
            load_dataset(tmp_path, "coco", classes=classes)


# --- folders


def folders(root):
    for name in ("b/2.JPG", "b/10.png", "a/1.webp", "a/notes.txt", ".hidden/x.jpg", "b/.y.jpg"):
        write(root / name)
    write(root / "loose.jpg")
    return root


def test_folders_by_hand(tmp_path):
    data = load_dataset(folders(tmp_path / "val"), "folders", strict=True)
    assert [(s.id, s.labels, s.boxes) for s in data.samples] == [
        ("a/1.webp", (0,), ((),)),
        ("b/10.png", (1,), ((),)),
        ("b/2.JPG", (1,), ((),)),
    ]
    assert data.class_names == {0: "a", 1: "b"}
    assert data.notes[0].endswith("1 files ignored whose names do not end like an image's")
    assert load_dataset(tmp_path, "folders", split="val").samples == data.samples


def test_folders_by_synset_or_name(tmp_path):
    for name in ("n03126707", "tench", "Tinca tinca", "crane", "empty"):
        write(tmp_path / name / "1.jpg")
    (tmp_path / "empty/1.jpg").unlink()
    data = load_dataset(tmp_path, "folders", classes=write(tmp_path / "synsets.txt", SYNSETS))
    assert [(s.id, s.labels) for s in data.samples] == [
        ("Tinca tinca/1.jpg", (0,)),
        ("n03126707/1.jpg", (2,)),
        ("tench/1.jpg", (0,)),
    ]
    assert [line.split(",")[0] for line in data.problems] == [
        "crane: unknown class 'crane'",  # two classes bear the name
        "empty: the class folder holds no image",
    ]


def test_folders_without_a_folder(tmp_path):
    with pytest.raises(DatasetError, match="no usable image"):
        load_dataset(tmp_path, "folders")
    with pytest.raises(DatasetError, match="no folder"):
        load_dataset(tmp_path, "folders", split="val")


# --- csv


def test_csv_by_hand(tmp_path):
    rows = "image,label,x1,y1,x2,y2\nd/b.jpg,5,0,1,10,20.5\na.jpg,2,,,,\nd/b.jpg,4,1,1,2,2\n\nd/b.jpg,5,3,3,4,4\n"
    file = write(tmp_path / "boxes.csv", "\ufeff" + rows)
    write(tmp_path / "a.jpg")
    write(tmp_path / "d/b.jpg")
    expected = (
        Sample("d/b.jpg", tmp_path / "d/b.jpg", (5, 4), (((0, 1, 10, 20.5), (3, 3, 4, 4)), ((1, 1, 2, 2),))),
        Sample("a.jpg", tmp_path / "a.jpg", (2,), ((),)),
    )
    assert load_dataset(file, "csv", strict=True).samples == expected
    assert load_dataset(tmp_path, "csv", strict=True).samples == expected
    write(tmp_path / "other.csv", "image,label\na.jpg,2\n")
    assert load_dataset(tmp_path, "csv", split="other", strict=True).samples == expected[1:]
    with pytest.raises(DatasetError, match="2 CSV files"):
        load_dataset(tmp_path, "csv")


def test_csv_faults(tmp_path):
    file = write(
        tmp_path / "boxes.csv",
        "image,label,x1,y1,x2,y2\na.jpg,2,1,1,x,2\na.jpg,,1,1,2,2\na.jpg,2,1,1,2\na.jpg,cat,1,1,2,2\n"
        "a.jpg,2,-0.5,0,5,5\na.jpg,2,5,5,5,9\n/etc/hostname,1,,,,\n../a.jpg,1,,,,\ngone.jpg,1,,,,\n",
    )
    write(tmp_path / "a.jpg")
    data = load_dataset(file, "csv")
    assert [(s.id, s.labels, s.boxes) for s in data.samples] == [("a.jpg", (2,), (((0, 0, 5, 5),),))]
    found = [line.removeprefix("boxes.csv: ") for line in data.problems]
    for line, start in zip(
        found,
        [
            "line 2:",
            "line 3:",
            "line 4:",
            "a.jpg: box (-0.5, 0, 5, 5) reaches 0.5 px",  # no slack where the convention is ours
            "a.jpg: box (5, 5, 5, 9) is empty",
            "a.jpg: unknown class 'cat'",
            "/etc/hostname leads out",
            "../a.jpg leads out",
            "gone.jpg: the image is missing",
        ],
        strict=True,
    ):
        assert line.startswith(start)


def test_a_problem_is_one_line_whatever_a_name_holds(tmp_path):
    write(tmp_path / "a.jpg")
    data = load_dataset(write(tmp_path / "boxes.csv", 'image,label\na.jpg,1\n"a\nb.jpg",1\n'), "csv")
    assert data.problems == ("a b.jpg: the image is missing; left out",)


@pytest.mark.parametrize("header", ["", "a.jpg,1\n", "image,label,x1\n", "label,image\n"])
def test_csv_needs_its_header(tmp_path, header):
    write(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match=r"image,label\[,x1,y1,x2,y2\] is needed"):
        load_dataset(write(tmp_path / "boxes.csv", header), "csv")


def test_csv_names_through_a_classes_file(tmp_path):
    write(tmp_path / "a.jpg")
    file = write(tmp_path / "boxes.csv", 'image,label\na.jpg,"tench, Tinca tinca"\na.jpg,n03126707\na.jpg,1\na.jpg,3\n')
    data = load_dataset(file, "csv", classes=write(tmp_path / "synsets.txt", SYNSETS))
    assert data.samples[0].labels == (0, 2, 1)
    assert "unknown class '3'" in data.problems[0]


# --- the front door


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", '{"dog": "207"}'),
        ("c.json", '{"dog": -1}'),
        ("c.json", '{"dog": true}'),
        ("c.json", "[1, 2]"),
        ("c.json", '"dog"'),
        ("c.json", "{"),
        ("c.json", "{}"),
        ("c.csv", "dog,207,3\n"),
        ("c.csv", "dog,x\n"),
        ("c.csv", "dog,1\ndog,2\n"),
        ("c.csv", 'dog,"1\n'),
        ("c.txt", ""),
    ],
)
def test_a_bad_classes_file(tmp_path, name, content):
    root = voc(tmp_path, {"a": xml(("dog", 1, 1, 5, 5))})
    with pytest.raises(DatasetError, match=r"c\.(json|csv|txt) is"):
        load_dataset(root, "voc", classes=write(tmp_path / name, content))


def test_classes_in_every_form_agree(tmp_path):
    root = voc(tmp_path, {"a": xml(("cat", 1, 1, 5, 5), ("dog", 1, 1, 5, 5))})
    forms = {
        "1.json": '{"dog": 0, "cat": 1}',
        "2.json": '["dog", "cat"]',
        "3.csv": "dog,0\ncat,1\n",
        "4.txt": "dog\ncat\n",
    }
    loaded = [load_dataset(root, "voc", classes=write(tmp_path / name, text)) for name, text in forms.items()]
    assert {data.fingerprint() for data in loaded} == {loaded[0].fingerprint()}
    assert [data.class_names for data in loaded] == [{0: "dog", 1: "cat"}] * 4
    assert loaded[0].samples[0].labels == (1, 0)


def test_a_class_left_out_on_purpose_is_no_problem(tmp_path):
    root = voc(tmp_path, {"a": xml(("cat", 1, 1, 5, 5), ("dog", 1, 1, 5, 5)), "b": xml(("cat", 1, 1, 5, 5))})
    data = load_dataset(root, "voc", classes=write(tmp_path / "c.csv", "dog,3\ncat,\n"), strict=True)
    assert [(s.id, s.labels) for s in data.samples] == [("a", (3,))]
    assert "1 images left out" in data.notes[0]


@pytest.mark.parametrize("layout", ["ilsvrc", "wsol", "voc", "coco"])
def test_an_empty_folder_names_the_file_it_lacks(tmp_path, layout):
    with pytest.raises(DatasetError, match=r"(txt|json)"):
        load_dataset(tmp_path, layout)


def test_unknown_layout_and_missing_root(tmp_path):
    with pytest.raises(OptionError, match=r"'imagenet'.*ilsvrc, wsol, voc, coco, folders, csv"):
        load_dataset(tmp_path, "imagenet")
    for layout in LAYOUTS:
        with pytest.raises(DatasetError, match="does not exist"):
            load_dataset(tmp_path / "nowhere", layout)


def test_text_that_is_not_utf8(tmp_path):
    root = voc(tmp_path, {"a": xml(("dog", 1, 1, 5, 5))})
    (root / "ImageSets/Main/val.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DatasetError, match=r"val\.txt cannot be read \(it is not UTF-8"):
        load_dataset(root, "voc")


def test_images_are_listed_once_and_never_touched(tmp_path, monkeypatch):
    root = ilsvrc(tmp_path, {f"I{n:03d}": xml(TENCH) for n in range(300)})
    real_stat, real_listdir, stats, listed = os.stat, os.listdir, [], []
    monkeypatch.setattr(os, "stat", lambda path, *a, **k: (stats.append(str(path)), real_stat(path, *a, **k))[1])
    monkeypatch.setattr(os, "listdir", lambda path=".": (listed.append(str(path)), real_listdir(path))[1])
    assert len(load_dataset(root, "ilsvrc").samples) == 300
    assert listed == [str(root / "Data/CLS-LOC/val")]
    assert not [path for path in stats if path.endswith(".JPEG")]


def test_annotations_are_not_kept_in_memory(tmp_path):
    filler = "<source>" + "x" * 20_000 + "</source>"
    root = ilsvrc(tmp_path, {f"I{n:03d}": xml(TENCH).replace("<folder>", filler + "<folder>") for n in range(300)})
    load_dataset(root, "ilsvrc")
    tracemalloc.start()
    load_dataset(root, "ilsvrc")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # all files together hold 6 MB


def test_no_torch_is_loaded():
    code = "import sys, looktwice.datasets; sys.exit('torch' in sys.modules)"
    source = str(Path(looktwice.__file__).parents[1])
    assert (
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": source}, check=False).returncode
        == 0
    )


# --- fingerprint, split, order


def sample(name, labels=(0,), boxes=((),), folder="x"):
    return Sample(name, Path(folder) / name, labels, boxes)


def test_fingerprint_by_hand_and_what_changes_it():
    one = sample("a", (1,), (((0.0, 0.0, 2.0, 2.5),),))
    base = Dataset((one, sample("b")))
    # printf '["a", [1], [[[0.0, 0.0, 2.0, 2.5]]]]\n["b", [0], [[]]]\n' | sha256sum
    assert base.fingerprint() == "5c91126aac9e35a1aadcf1240d0dbac7601d3f179631c6eedeeaddff90aaf5dc"
    moved = Dataset((replace(one, image=Path("elsewhere/a"), width=9, height=9), sample("b")), problems=("p",))
    assert moved.fingerprint() == base.fingerprint()
    others = [
        (sample("b"), one),
        (one,),
        (replace(one, id="c"), sample("b")),
        (replace(one, labels=(2,)), sample("b")),
        (replace(one, boxes=(((0.0, 0.0, 2.0, 2.5000001),),)), sample("b")),
        (replace(one, labels=(1, 3), boxes=((), one.boxes[0])), sample("b")),
    ]
    assert len({Dataset(samples).fingerprint() for samples in others} | {base.fingerprint()}) == 7


names = st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), unique=True, max_size=30)


@given(names, st.floats(0, 1), st.text(max_size=3), st.randoms(use_true_random=False))
def test_split_is_a_partition_that_ignores_order_and_company(ids, share, salt, rng):
    samples = [sample(name) for name in ids]
    first, second = split_by_hash(samples, share, salt)
    assert [s for s in samples if s in first] == list(first)
    assert [s for s in samples if s not in first] == list(second)
    some = [s for s in samples if rng.random() < 0.5]
    rng.shuffle(some)
    assert set(split_by_hash(some, share, salt)[0]) == set(some) & set(first)


def test_split_share_salt_and_file_name():
    samples = [sample(f"{n}.jpg") for n in range(4000)]
    first, _ = split_by_hash(samples, 0.25)
    assert 0.22 < len(first) / 4000 < 0.28  # four standard deviations of a fair draw
    smaller, _ = split_by_hash(samples, 0.1)
    assert set(smaller) < set(first)
    salted, _ = split_by_hash(samples, 0.25, "again")
    assert 0.15 < len(set(salted) & set(first)) / len(first) < 0.35
    assert [len(part) for part in split_by_hash(samples, 1)] == [4000, 0]
    assert [len(part) for part in split_by_hash(samples, 0)] == [0, 4000]
    elsewhere = [Sample(f"val/{s.id}", Path("val") / s.id, (5,), ((),)) for s in samples]
    assert [s.image.name for s in split_by_hash(elsewhere, 0.25)[0]] == [s.image.name for s in first]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_split_share_out_of_range(share):
    with pytest.raises(OptionError, match="share"):
        split_by_hash([], share)


@given(names, st.integers(-5, 5), st.randoms(use_true_random=False))
def test_order_depends_on_seed_and_ids_alone(ids, seed, rng):
    samples = [sample(name) for name in ids]
    order = shuffled(samples, seed)
    assert sorted(s.id for s in order) == sorted(ids)
    some = [s for s in samples if rng.random() < 0.5]
    rng.shuffle(some)
    assert list(shuffled(some, seed)) == [s for s in order if s in some]


def test_order_looks_random_and_is_the_same_in_another_process():
    samples = [sample(f"{n:04d}") for n in range(1000)]
    orders = [[int(s.id) for s in shuffled(samples, seed)] for seed in (0, 1)]
    assert orders[0] != orders[1]
    for order in orders:
        rising = sum(a < b for a, b in itertools.pairwise(order))
        assert 460 < rising < 540  # 500 ± 9 for a random order, 999 for a sorted one
    code = (
        "from pathlib import Path; from looktwice.datasets import *\n"
        "s = [Sample(f'{n:04d}', Path('x') / f'{n:04d}', (0,), ((),)) for n in range(1000)]\n"
        "print([int(x.id) for x in shuffled(s, 1)], len(split_by_hash(s, 0.5)[0]))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(looktwice.__file__).parents[1])}
    for hash_seed in ("1", "2"):
        output = subprocess.check_output(
            [sys.executable, "-c", code], env=environment | {"PYTHONHASHSEED": hash_seed}, text=True
        )
        assert output.strip() == f"{orders[1]} {len(split_by_hash(samples, 0.5)[0])}"


def test_load_order_does_not_depend_on_how_files_were_written(tmp_path):
    made = [f"c{n % 3}/{n}.jpg" for n in range(30)]
    for folder, seed in (("one", 1), ("two", 2)):
        random.Random(seed).shuffle(made)
        for name in made:
            write(tmp_path / folder / name)
    one, two = (load_dataset(tmp_path / folder, "folders") for folder in ("one", "two"))
    assert one.fingerprint() == two.fingerprint()
    assert [sample.id for sample in one.samples] == sorted(made)


# --- the real thing


@pytest.mark.data
@pytest.mark.skipif("LOOKTWICE_ILSVRC" not in os.environ, reason="LOOKTWICE_ILSVRC names no folder with ILSVRC CLS-LOC")
def test_real_annotations_xml_and_csv_agree(tmp_path):
    root = Path(os.environ["LOOKTWICE_ILSVRC"])
    for name in ("Data", "ImageSets", "LOC_synset_mapping.txt", "LOC_val_solution.csv"):
        (tmp_path / name).symlink_to(root / name)
    with_xml = load_dataset(root, "ilsvrc", strict=True)
    with_csv = load_dataset(tmp_path, "ilsvrc", strict=True)
    assert len(with_xml.class_names) == 1000
    for one, other in zip(with_xml.samples, with_csv.samples, strict=True):
        # The CSV states no sizes; a scaled data set's rounded boxes may reach the pixel behind the last.
        fitted, faults = fit_to_image(other, one.width, one.height)
        assert (fitted.id, fitted.labels, fitted.boxes, faults) == (one.id, one.labels, one.boxes, ())
