"""A network in a file, shared by the tests of this folder."""

import pytest

from looktwice.models import load_model
from own_networks import SMALL_NET


@pytest.fixture(scope="module")
def lite():
    return load_model()


@pytest.fixture
def net_file(tmp_path):
    file = tmp_path / "nets.py"
    file.write_text(SMALL_NET)
    return file
