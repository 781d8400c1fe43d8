"""Finished runs that the tests of the report share."""

import pytest

from looktwice.report.page import render
from report_runs import CLASSES, make_data, make_grid_run, make_run


@pytest.fixture(scope="package")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("report") / "data")


@pytest.fixture(scope="package")
def run(data):
    return make_run(data.parent / "run", data)


@pytest.fixture(scope="package")
def bare(data):
    """A run that kept no maps."""
    return make_run(data.parent / "bare", data, maps=False, network="googlenet")


@pytest.fixture(scope="package")
def page(run):
    return render([run])


@pytest.fixture(scope="package")
def many(tmp_path_factory):
    """A run of enough images to compare methods, which also measured faithfulness."""
    folder = tmp_path_factory.mktemp("many")
    return make_run(folder / "run", make_data(folder / "data", images=70), maps=False, faithful=True)


@pytest.fixture(scope="package")
def many_page(many):
    return render([many])


@pytest.fixture(scope="package")
def boxless(tmp_path_factory):
    """A run that measured faithfulness on images without boxes."""
    folder = tmp_path_factory.mktemp("boxless")
    return make_run(folder / "run", make_data(folder / "data", boxed=False), maps=False, faithful=True)


@pytest.fixture(scope="package")
def grid(tmp_path_factory):
    """A grid pointing game of three squares."""
    folder = tmp_path_factory.mktemp("grid")
    return make_grid_run(folder / "run", make_data(folder / "data", classes=(*CLASSES, "cup")))
