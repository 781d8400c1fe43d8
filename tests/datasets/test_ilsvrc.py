"""The layout ``ilsvrc``."""

from pathlib import Path

import pytest

from layouts import SYNSETS, TENCH, ilsvrc, write, xml
from looktwice.datasets import (
    Sample,
    files,
    load_dataset,
)
from looktwice.errors import DatasetError


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


def test_a_listed_name_with_a_blank_is_not_cut_to_another_image(tmp_path):
    root = ilsvrc(tmp_path, {name: xml(TENCH) for name in ("cat", "cat 2", "my", "my dog")})
    write(root / "ImageSets/CLS-LOC/val.txt", "cat 2\nmy dog\n")
    data = load_dataset(root, "ilsvrc", strict=True)
    assert [sample.id for sample in data.samples] == ["cat 2", "my dog"]


def test_the_number_after_an_id_with_blanks_is_no_part_of_it(tmp_path):
    root = ilsvrc(tmp_path, {name: xml(TENCH) for name in ("cat 2", "my dog", "cat")})
    assert "cat 2 1\nmy dog 2\n" in (root / "ImageSets/CLS-LOC/val.txt").read_text()
    assert [sample.id for sample in load_dataset(root, "ilsvrc", strict=True).samples] == ["cat 2", "my dog", "cat"]


def test_a_row_of_the_solution_that_is_no_csv_costs_itself(tmp_path):
    write(tmp_path / "LOC_synset_mapping.txt", SYNSETS)
    write(
        tmp_path / "LOC_val_solution.csv",
        'ImageId,PredictionString\nA,n01440764 1 2 3 4\nB,"n01440764 1" 2 3 4\nC,n01440764 1 2 1e400 4\n'
        "D,n01440764 1 2 3 4\n",
    )
    write(tmp_path / "ImageSets/CLS-LOC/val.txt", "A\nB\nC\nD\n")
    for name in "ABCD":
        write(tmp_path / f"Data/CLS-LOC/val/{name}.JPEG")
    data = load_dataset(tmp_path, "ilsvrc")
    assert [(s.id, len(s.boxes[0])) for s in data.samples] == [("A", 1), ("C", 0), ("D", 1)]
    assert "line 3 is not CSV" in data.problems[0]
    assert "not finite" in " ".join(data.problems)
