"""The layout ``huggingface``."""

import io
import pickle
import sys

import pytest
from PIL import Image as Pillow

from looktwice.datasets import find_layout, known_classes, load_dataset
from looktwice.datasets.layouts import huggingface
from looktwice.errors import DatasetError, InputError, MissingExtraError

package = pytest.importorskip("datasets")

KNOWN = known_classes(["cat", "dog", "crane", "crane"])


def png(shade):
    content = io.BytesIO()
    Pillow.new("RGB", (4, 3), (shade, 0, 0)).save(content, "PNG")
    return content.getvalue()


def made(labels=(1, 0, -1), names=("Cat", "dog"), **columns):
    """A table with an image in each row; by default its labels have the type ClassLabel."""
    rows = {"image": [{"bytes": png(n), "path": None} for n in range(len(labels))]} | columns
    features = {"image": package.Image()}
    if names is not None:
        rows["label"] = list(labels)
        features["label"] = package.ClassLabel(names=list(names))
    table = package.Dataset.from_dict(rows)
    return table.cast(package.Features({**table.features, **features}))


def saved(folder, table):
    table.save_to_disk(str(folder))
    return folder


def read(root, **choices):
    return load_dataset(root, "huggingface", unlabelled=True, known=KNOWN, **choices)


def found(data):
    return [(sample.id, sample.labels) for sample in data.samples]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def test_a_table_on_disk(tmp_path):
    data = read(saved(tmp_path / "d", made()), strict=True)
    assert found(data) == [("000000", (1,)), ("000001", (0,)), ("000002", ())]
    assert [sample.content.read() for sample in data.samples] == [png(n) for n in range(3)]
    assert data.samples[0].boxes == ((),)
    assert data.class_names[1] == "dog"


def test_several_arrow_files(tmp_path):
    table = made(labels=[n % 2 for n in range(10)])
    table.save_to_disk(str(tmp_path / "d"), num_shards=3)
    data = read(tmp_path / "d")
    assert [sample.content.read() for sample in data.samples] == [png(n) for n in range(10)]
    assert len(data.samples[0].content.table.files) == 3


def test_splits(tmp_path):
    parts = package.DatasetDict({"train": made(), "val": made(labels=[0])})
    saved(tmp_path / "d", parts)
    assert found(read(tmp_path / "d", split="val")) == [("000000", (0,))]
    with pytest.raises(DatasetError, match="has the splits train, val; name one"):
        read(tmp_path / "d")
    with pytest.raises(DatasetError, match="has no split 'test'; there are train, val"):
        read(tmp_path / "d", split="test")
    saved(tmp_path / "one", package.DatasetDict({"train": made()}))
    assert len(read(tmp_path / "one").samples) == 3
    with pytest.raises(DatasetError, match="leave the split out"):
        read(saved(tmp_path / "bare", made()), split="train")


def test_parquet_files(tmp_path):
    made().to_parquet(str(tmp_path / "d/data/train-00000-of-00001.parquet"))
    made(labels=[1]).to_parquet(str(tmp_path / "d/data/test-00000-of-00001.parquet"))
    data = read(tmp_path / "d", split="train", strict=True)
    assert found(data) == [("000000", (1,)), ("000001", (0,)), ("000002", ())]
    assert data.samples[2].content.read() == png(2)
    assert found(read(tmp_path / "d", split="test")) == [("000000", (1,))]


def test_a_name_on_the_hub_goes_to_load_dataset(monkeypatch, tmp_path):
    asked = []

    def load(name):
        asked.append(name)
        return package.load_from_disk(str(tmp_path / "d"))

    saved(tmp_path / "d", made())
    monkeypatch.setattr(package, "load_dataset", load)
    assert find_layout("hf:owner/name", KNOWN) == "huggingface"
    data = read("hf:owner/name")
    assert asked == ["owner/name"]
    assert len(data.samples) == 3
    assert data.source.root == "hf:owner/name"


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def load(name):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(package, "load_dataset", load)
    with pytest.raises(DatasetError, match=r"^hf:owner/name: the data set cannot be loaded: no network$"):
        read("hf:owner/name")


def test_without_known_classes_a_label_is_its_number(tmp_path):
    data = load_dataset(saved(tmp_path / "d", made(names=("x", "y"))), "huggingface")
    assert found(data) == [("000000", (1,)), ("000001", (0,))]
    assert data.class_names == {0: "x", 1: "y"}
    assert "000002 has no object" in data.problems[0]


def test_labels_as_texts_and_as_whole_numbers(tmp_path):
    texts = made(labels=[0] * 4, names=None, label=["Dog", "0", "", None])
    assert found(read(saved(tmp_path / "t", texts))) == [
        ("000000", (1,)),
        ("000001", (0,)),
        ("000002", ()),
        ("000003", ()),
    ]
    numbers = made(labels=[0] * 3, names=None, label=[1, -1, 9])
    data = read(saved(tmp_path / "n", numbers))
    assert found(data) == [("000000", (1,)), ("000001", ())]
    assert "unknown class '9'" in data.problems[0]


def test_a_class_that_the_network_lacks_and_one_that_is_ambiguous(tmp_path):
    data = read(saved(tmp_path / "d", made(labels=[0, 1, 2, 0], names=("gnu", "crane", "dog", "emu"))))
    assert found(data) == [("000002", (1,))]
    assert [line.removeprefix(f"{tmp_path / 'd'}: ") for line in data.problems] == [  # a line for each class
        "unknown class 'gnu', 2 images left out; name it in the classes file",
        "class 'crane' is ambiguous: it means the classes 2, 3; 1 images left out; give its index in a classes file",
    ]


def test_as_many_classes_as_the_network_with_other_names_are_refused(tmp_path):
    with pytest.raises(
        DatasetError, match=r"none of its 4 classes \('w', 'x', 'y' …\) is known by name; give a classes"
    ):
        read(saved(tmp_path / "d", made(names=("w", "x", "y", "z"))))
    classes = tmp_path / "c.csv"
    classes.write_text("w,3\nx,2\ny,1\nz,0\n")
    assert found(read(tmp_path / "d", classes=classes))[0] == ("000000", (2,))


def test_several_columns_of_images_or_labels_are_refused_by_name(tmp_path):
    two = made(mask=[{"bytes": png(9), "path": None}] * 3).cast_column("mask", package.Image())
    with pytest.raises(DatasetError, match=r"several image columns \(image, mask\).*select_columns"):
        read(saved(tmp_path / "i", two))
    two = made(coarse=[0, 0, 0]).cast_column("coarse", package.ClassLabel(names=["animal"]))
    with pytest.raises(DatasetError, match=r"several label columns \(\w+, \w+\)"):
        read(saved(tmp_path / "l", two))


def test_a_table_without_images_or_labels(tmp_path):
    with pytest.raises(DatasetError, match="no image column among text"):
        read(saved(tmp_path / "t", package.Dataset.from_dict({"text": ["x"]})))
    bare = saved(tmp_path / "b", made(names=None))
    assert [labels for _, labels in found(read(bare))] == [(), (), ()]
    with pytest.raises(DatasetError, match="no label column among image; call it 'label'"):
        load_dataset(bare, "huggingface")
    with pytest.raises(DatasetError, match="column 'label' has the type float"):
        read(saved(tmp_path / "f", made(names=None, label=[0.5] * 3)))


def test_no_row(tmp_path):
    with pytest.raises(DatasetError, match=r"no row|no usable image|cannot be loaded"):
        read(saved(tmp_path / "d", made(labels=[])))


def test_a_row_without_an_image(tmp_path):
    table = package.Dataset.from_dict({"image": [None, {"bytes": png(1), "path": None}], "label": ["cat"] * 2})
    samples = read(saved(tmp_path / "d", table.cast_column("image", package.Image()))).samples
    with pytest.raises(InputError, match="row 0: has no image"):
        samples[0].content.read()
    assert samples[1].content.read() == png(1)


def test_rows_that_name_files(tmp_path, monkeypatch):
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "x.png").write_bytes(png(number))
    whole = package.load_dataset("imagefolder", data_dir=str(tmp_path / "images"))
    monkeypatch.setattr(package, "load_dataset", lambda name: whole)
    data = read("hf:owner/name")
    assert found(data) == [("000000", (0,)), ("000001", (1,))]
    assert [sample.content.read() for sample in data.samples] == [png(0), png(1)]
    (tmp_path / "images/dog/x.png").unlink()
    with pytest.raises(InputError, match=r"row 1: its file .*dog.x\.png cannot be read \(No such file"):
        data.samples[1].content.read()


def test_a_table_that_is_gone_or_damaged_after_it_was_listed(tmp_path):
    (one, *_) = read(saved(tmp_path / "d", made())).samples
    (file,) = (tmp_path / "d").glob("*.arrow")
    file.write_bytes(b"broken" * 100)
    with pytest.raises(InputError, match=r"row 0: cannot be read"):
        one.content.read()
    file.unlink()
    with pytest.raises(InputError, match=r"row 0: cannot be read"):
        one.content.read()


def test_a_damaged_folder_is_one_line(tmp_path):
    saved(tmp_path / "d", made())
    (tmp_path / "d/state.json").write_text("{")
    with pytest.raises(DatasetError, match="cannot be loaded"):
        read(tmp_path / "d")
    (tmp_path / "other").mkdir()
    with pytest.raises(DatasetError, match=r"is no data set of Hugging Face; needed: .*hf:OWNER/NAME"):
        read(tmp_path / "other")


def test_other_processes_can_read_a_row(tmp_path):
    sample = read(saved(tmp_path / "d", made())).samples[1]
    again = pickle.loads(pickle.dumps(sample))
    assert again == sample
    assert again.content.read() == png(1)


def test_the_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"looktwice\[huggingface\]"):
        read(tmp_path)


def test_its_folders_are_found(tmp_path):
    saved(tmp_path / "one", made())
    saved(tmp_path / "many", package.DatasetDict({"train": made()}))
    made().to_parquet(str(tmp_path / "parquet/train.parquet"))
    for name in ("one", "many", "parquet"):
        assert find_layout(tmp_path / name, KNOWN) == "huggingface"
    assert not huggingface.has_parquet(tmp_path)


def test_whole_numbers_are_indices_where_names_are_digits(tmp_path):
    digits = known_classes(("0", "1", "10", "11", "2", "3"))
    numbers = saved(tmp_path / "n", made(labels=[0] * 3, names=None, label=[2, 4, 10]))
    data = load_dataset(numbers, "huggingface", known=digits, unlabelled=True)
    assert found(data) == [("000000", (2,)), ("000001", (4,))]
    assert "unknown class '10'" in data.problems[0]
    texts = saved(tmp_path / "t", made(labels=[0] * 3, names=None, label=["2", "10", "4"]))
    assert [labels for _, labels in found(load_dataset(texts, "huggingface", known=digits))] == [(4,), (2,), (4,)]
    named = saved(tmp_path / "c", made(labels=[0, 1, 2], names=("2", "0", "10")))
    assert [labels for _, labels in found(load_dataset(named, "huggingface", known=digits))] == [(4,), (0,), (2,)]
