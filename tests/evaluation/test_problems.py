"""What is wrong with the data and shows only when an image is decoded: a line, counted, kept, and ``strict`` stops."""

import os
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evaluations import METHODS, StopError, colours, run_on, stop_after, summary_of
from looktwice.datasets import Dataset, Sample, load_dataset
from looktwice.errors import DatasetError, ModelError, RunError
from looktwice.evaluation import chunks, evaluate
from looktwice.evaluation.processes import Shard
from looktwice.images import read_annotated
from looktwice.report.card_pictures import thumbnail
from looktwice.report.finished_run import read_run
from looktwice.report.gallery import make_gallery

BOX = (4.0, 6.0, 24.0, 36.0)
"""Of the red object in the upright photo, which is 30 pixels wide and 50 high."""


def photo(path, orientation=6):
    """A red object as a camera stores it: turned, with a tag that says how."""
    pixels = np.zeros((50, 30, 3), dtype=np.uint8)
    pixels[6:36, 4:24, 0] = 250
    upright = Image.fromarray(pixels)
    stored = upright.transpose({6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(path, exif=exif)
    return path


def of_photo(path, width=None, height=None):
    return Sample(path.name, path, (0,), ((BOX,),), width, height)


def told(run):
    path = run / "problems.txt"
    return path.read_text().splitlines() if path.exists() else []


def rows(run, method="gradient"):
    table = pq.read_table(run / "rows" / "part-000000.parquet", partitioning=None)
    return [row for row in table.to_pylist() if row["method"] == method]


def test_a_photo_whose_boxes_were_drawn_upright_is_read_upright(tmp_path):
    dataset = Dataset((of_photo(photo(tmp_path / "a.png"), 30, 50),))
    status = run_on(dataset, tmp_path / "run", strict=True)
    (row,) = rows(tmp_path / "run")
    assert (row["width"], row["height"], row["note"]) == (30, 50, None)
    assert row["iou"] > 0.8
    assert (status.problems, told(tmp_path / "run")) == ((), [])
    picture = read_annotated(tmp_path / "a.png", (30, 50)).image
    assert picture.size == (30, 50)


def test_the_report_shows_the_photo_as_its_boxes_count_it(tmp_path):
    photo(tmp_path / "a.png")
    (tmp_path / "annotations").mkdir()
    assert thumbnail(tmp_path / "a.png", (30, 50)) != thumbnail(tmp_path / "a.png", (50, 30))
    data = tmp_path / "coco"
    (data / "val2017").mkdir(parents=True)
    photo(data / "val2017" / "a.png")
    (data / "annotations").mkdir()
    (data / "annotations" / "instances_val2017.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 50}],'
        '"categories": [{"id": 1, "name": "r"}],'
        '"annotations": [{"image_id": 1, "category_id": 1, "bbox": [4, 6, 20, 30]}]}'
    )
    (data / "classes.json").write_text('{"r": 0}')
    dataset = load_dataset(data, "coco", classes=data / "classes.json")
    run_on(dataset, tmp_path / "run")
    (card,) = make_gallery(read_run(tmp_path / "run"), 5).cards
    assert (card.width, card.height, card.truths) == (30, 50, (BOX,))
    assert card.picture == thumbnail(data / "val2017" / "a.png", (30, 50))


@pytest.mark.parametrize(
    ("orientation", "stated", "said"),
    [
        (6, (None, None), "(EXIF orientation 6)"),
        (3, (30, 50), "(EXIF orientation 3)"),
        (6, (60, 100), "the annotation states 60×100 pixels, the image has 50×30"),
    ],
)
def test_a_turned_photo_that_stays_in_doubt_is_told_and_strict_stops(tmp_path, orientation, stated, said):
    dataset = Dataset((of_photo(photo(tmp_path / "a.png", orientation), *stated),))
    status = run_on(dataset, tmp_path / "run")
    (line,) = status.problems
    assert line.startswith("a.png: ")
    assert said in line
    assert told(tmp_path / "run") == [line]
    assert rows(tmp_path / "run")[0]["note"] == line
    assert summary_of(tmp_path / "run")["images_with_notes"] == 1
    with pytest.raises(DatasetError, match=r"a\.png: .*\(strict: repair it"):
        run_on(dataset, tmp_path / "strict", strict=True)
    assert not list((tmp_path / "strict").glob("rows/*"))
    with pytest.raises(DatasetError, match=r"\(strict: repair it"):
        run_on(dataset, tmp_path / "run", strict=True)  # though all of its rows are there


@pytest.fixture(scope="module")
def faulty(folder, tmp_path_factory):
    """The small data set with six faults that only decoding shows."""
    copy = tmp_path_factory.mktemp("faulty")
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "001.png").write_bytes((copy / "001.png").read_bytes()[:100])
    (copy / "002.png").write_bytes(b"no image at all")
    Image.fromarray(np.full((40, 40), 4000, dtype=np.uint16)).save(copy / "003.png")
    with (copy / "images.csv").open("a") as lines:
        lines.write("004.png,0,0,0,500,5\n005.png,0,200,200,300,300\n")
    photo(copy / "006.png")
    return load_dataset(copy, "csv")


EXPECTED = {
    "001.png": "damaged or cut short",
    "002.png": "is not an image",
    "003.png": "all its 16-bit values are below 4,096",
    "004.png": "reaches",
    "005.png": "is empty or outside",
    "006.png": "(EXIF orientation 6)",
}


def assert_all_told(lines):
    """Each problem stands in one line, and stands there once."""
    assert [line.partition(": ")[0] for line in sorted(lines)] == sorted(EXPECTED)
    for line in lines:
        assert EXPECTED[line.partition(": ")[0]] in line


@pytest.mark.parametrize("workers", [0, 1])
def test_everything_that_decoding_shows_is_in_the_file_of_problems(faulty, tmp_path, workers):
    with_more = Dataset(faulty.samples, ("images.csv: something else",))
    status = run_on(with_more, tmp_path / "run", workers=workers)
    assert_all_told(status.problems)
    assert told(tmp_path / "run")[0] == "images.csv: something else"
    assert_all_told(told(tmp_path / "run")[1:])
    assert {line.partition(":")[0] for line in status.failures} == {"001.png", "002.png"}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_goes_on_doubles_no_problem(faulty, tmp_path, workers):
    run = tmp_path / "run"
    with pytest.raises(StopError):
        run_on(faulty, run, workers=workers, progress=stop_after(12))
    some = told(run)
    assert 0 < len(some) <= 6  # what was found before the stop is kept
    run_on(faulty, run, workers=workers)
    assert_all_told(told(run))
    run_on(faulty, run)
    assert_all_told(told(run))


def test_several_processes_lose_and_double_no_problem(faulty, tmp_path):
    run = tmp_path / "run"
    for rank in range(3):
        status = run_on(faulty, run, shard=Shard(rank, 3))
    assert_all_told(status.problems)
    assert_all_told(told(run))


def test_a_repaired_image_is_no_problem_any_more(faulty, folder, tmp_path):
    run = tmp_path / "run"
    run_on(faulty, run)
    sample = next(sample for sample in faulty.samples if sample.id == "001.png")
    broken = sample.image.read_bytes()
    try:
        sample.image.write_bytes((folder / "001.png").read_bytes())
        for part in (run / "rows").iterdir():
            part.unlink()
        run_on(faulty, run)
    finally:
        sample.image.write_bytes(broken)
    assert {line.partition(":")[0] for line in told(run)} == set(EXPECTED) - {"001.png"}


@pytest.mark.skipif(os.name == "nt", reason="no signals there")
def test_a_killed_decoding_worker_is_one_line_and_the_rest_stays(dataset, tmp_path, monkeypatch):
    real, parent = chunks.read_annotated, os.getpid()

    def dies_with_the_fourteenth(path, size, **mode):
        if path.name == "013.png" and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, size, **mode)

    monkeypatch.setattr(chunks, "read_annotated", dies_with_the_fourteenth)
    with pytest.raises(RunError, match=r"process that decodes images was killed.*--workers") as caught:
        run_on(dataset, tmp_path / "run", workers=1)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    run_on(dataset, tmp_path / "run")


def test_an_error_of_a_decoding_worker_that_is_no_kill_is_not_called_one(dataset, tmp_path, monkeypatch):
    def fail(model, decoded, plan):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(evaluate, "attend_chunk", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run_on(dataset, tmp_path / "run", model=colours(), methods=METHODS)


@pytest.mark.parametrize("method", ["attention_rollout", "attention_relevance"])
def test_a_method_that_the_network_cannot_have_is_refused_before_an_image_is_read(dataset, tmp_path, method):
    with pytest.raises(ModelError, match="attention rollout needs a network with attention among tokens") as caught:
        run_on(dataset, tmp_path / "run", methods={"gradient": {}, method: {}})
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.parquet"))
