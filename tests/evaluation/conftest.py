"""One small data set and its finished evaluation, shared by the tests of this folder."""

import pytest

from evaluations import draw, run_on
from looktwice.datasets import load_dataset
from looktwice.localization import BoxRule


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("data") / "pictures", 22)


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset(folder, "csv")


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    outcome = run_on(dataset, run)
    assert (outcome.parts, outcome.missing, outcome.summary) == (6, 0, run / "summary.json")
    return run


@pytest.fixture(scope="module")
def contours(dataset, tmp_path_factory):
    """The same evaluation with a box for each contour."""
    run = tmp_path_factory.mktemp("runs") / "contours"
    run_on(dataset, run, rule=BoxRule("contour"))
    return run
