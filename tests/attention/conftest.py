"""Every method of ours as a fixture."""

import pytest

from attending import OURS


@pytest.fixture(params=OURS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param
