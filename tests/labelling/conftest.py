"""One small folder of pictures and its finished labels, shared by the tests of this folder."""

import pytest

from evaluations import draw
from labelling import label
from looktwice.datasets import load_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("data") / "pictures", 22)


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset(folder, "csv")


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    output = tmp_path_factory.mktemp("labels") / "undisturbed"
    status = label(dataset, output)
    assert (status.missing, status.parts, status.labels.count) == (0, 6, 22)
    return output
