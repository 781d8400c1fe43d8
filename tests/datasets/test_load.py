"""The front door of data sets."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

import looktwice
from layouts import TENCH, ilsvrc, voc, write, xml
from looktwice.datasets import LAYOUTS, fit_to_image, layouts, load_dataset
from looktwice.errors import DatasetError, OptionError


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


def test_a_layout_is_one_file_one_row_and_one_test_file():
    for name, layout in LAYOUTS.items():
        assert layout.read.__module__ == f"looktwice.datasets.layouts.{name}"
        assert (Path(__file__).parent / f"test_{name}.py").is_file()
    readers = {file.stem for file in Path(layouts.__file__).parent.glob("*.py")} - {"__init__"}
    assert readers == set(LAYOUTS)


def test_unknown_layout_and_missing_root(tmp_path):
    with pytest.raises(OptionError, match=r"'imagenet'.*ilsvrc, wsol, voc, coco, folders, csv"):
        load_dataset(tmp_path, "imagenet")
    for layout in LAYOUTS:
        with pytest.raises(DatasetError, match="does not exist"):
            load_dataset(tmp_path / "nowhere", layout)


def test_annotations_are_read_without_their_images(tmp_path):
    root = ilsvrc(tmp_path / "i", {"a": xml(TENCH), "b": xml(TENCH)}, images=["a"])
    assert [sample.id for sample in load_dataset(root, "ilsvrc").samples] == ["a"]
    found = load_dataset(root, "ilsvrc", images_needed=False)
    assert [sample.id for sample in found.samples] == ["a", "b"]
    assert found.problems == ()


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
    peaks = []
    for _ in range(2):  # a table of the interpreter's own may grow by megabytes in one run, but not in both
        tracemalloc.start()
        load_dataset(root, "ilsvrc")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(peaks) < 2_000_000  # all files together hold 6 MB


def test_no_torch_is_loaded():
    code = "import sys, looktwice.datasets; sys.exit('torch' in sys.modules)"
    source = str(Path(looktwice.__file__).parents[1])
    assert (
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": source}, check=False).returncode
        == 0
    )


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


def bytes_name(folder, name):
    """A path with any bytes in its name."""
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_of_any_bytes_become_text(tmp_path):
    """As a class folder, as a file, as the folder of the data set, in a problem line."""
    root = bytes_name(tmp_path, b"caf\xe9")
    cat = bytes_name(root / "cat", b"caf\xe9\x1b[31m.jpg")
    other = bytes_name(root, b"na\xefve") / "1.png"
    write(cat)
    write(other)
    bytes_name(root, b"empty\xff").mkdir()
    data = load_dataset(root, "folders")
    assert {sample.id: sample.image for sample in data.samples} == {
        "cat/caf\\xe9\\x1b[31m.jpg": cat,
        "na\\xefve/1.png": other,
    }
    assert all(sample.image.exists() for sample in data.samples)
    assert data.problems == ("empty\\xff: the class folder holds no image",)
    assert set(data.class_names.values()) == {"cat", "empty\\xff", "na\\xefve"}
    for text in (*data.problems, *data.class_names.values(), data.fingerprint()):
        text.encode()
