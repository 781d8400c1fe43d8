"""Images that lie in no files of their own, but in tar files or tables: an evaluation reads them like files."""

import io
import tarfile

import pytest

from evaluations import assert_same, draw, run_on
from looktwice.datasets import load_dataset
from looktwice.errors import DatasetError

COUNT = 8


def files(folder, ending=""):
    """Images as files that are named 000000, 000001 …, with their labels in a CSV file."""
    draw(folder, COUNT)
    lines = ["image,label"]
    for number in range(COUNT):
        (folder / f"{number:03d}.png").rename(folder / f"{number:06d}{ending}")
        lines.append(f"{number:06d}{ending},{number % 3}")
    (folder / "images.csv").write_text("\n".join(lines))
    return folder


def contents(folder, ending=""):
    return [(folder / f"{number:06d}{ending}").read_bytes() for number in range(COUNT)]


def tar_of(images, path):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, image in enumerate(images):
            for ending, content in ((".png", image), (".cls", b"%d" % (number % 3))):
                member = tarfile.TarInfo(f"{number:06d}{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_tar_files_give_the_rows_and_the_summary_of_files(tmp_path, workers):
    folder = files(tmp_path / "files", ".png")
    tar = tar_of(contents(folder, ".png"), tmp_path / "x.tar")
    run_on(load_dataset(folder, "csv", strict=True), tmp_path / "one")
    run_on(load_dataset(tar, "webdataset", strict=True), tmp_path / "other", workers=workers)
    assert_same(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize("workers", [0, 2])
def test_tables_give_the_rows_and_the_summary_of_files(tmp_path, workers):
    package = pytest.importorskip("datasets")
    folder = files(tmp_path / "files")
    images = [{"bytes": content, "path": None} for content in contents(folder)]
    table = package.Dataset.from_dict({"image": images, "label": [number % 3 for number in range(COUNT)]})
    table.cast_column("image", package.Image()).save_to_disk(str(tmp_path / "table"))
    run_on(load_dataset(folder, "csv", strict=True), tmp_path / "one")
    run_on(load_dataset(tmp_path / "table", "huggingface", strict=True), tmp_path / "other", workers=workers)
    assert_same(tmp_path / "one", tmp_path / "other")


def test_a_tar_file_that_is_gone_during_the_run_costs_its_images(tmp_path):
    images = contents(files(tmp_path / "files"))
    for name in ("gone", "stays"):
        tar_of(images, tmp_path / f"tars/{name}.tar")
    dataset = load_dataset(tmp_path / "tars", "webdataset", strict=True)
    (tmp_path / "tars/gone.tar").unlink()
    status = run_on(dataset, tmp_path / "run")
    assert len(status.failures) == COUNT
    assert all(line.startswith("gone/") and "cannot be read" in line for line in status.failures)
    with pytest.raises(DatasetError, match=r"gone/.* cannot be read"):
        run_on(dataset, tmp_path / "strict", strict=True)
