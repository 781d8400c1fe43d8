"""A small network and a client of its page, shared by the tests of this folder."""

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from looktwice.models import IMAGENET, Model
from looktwice.web.app import create_app
from page import ADDRESS, FIVE, Small


@pytest.fixture
def small():
    return Model("small", Small().eval(), replace(IMAGENET, resize=72, crop=64), FIVE, "drawn")


@pytest.fixture
def client(small):
    with TestClient(create_app([small]), base_url=ADDRESS) as client:
        yield client
