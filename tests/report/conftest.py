"""Finished runs that the tests of the report share."""

import pytest

from looktwice.report.page import render
from report_runs import make_data, make_run


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
