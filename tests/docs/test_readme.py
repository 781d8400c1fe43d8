"""The README's Python runs as it stands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_five_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    found: dict = {}
    exec(code, found)
    assert found["attention"].maps.shape[0] == 1
    assert found["model"].classes[found["attention"].targets[0]] == "tiger cat"
    assert found["boxes"]
    for box in found["boxes"]:
        assert 0 <= box.x1 < box.x2 <= 451
        assert 0 <= box.y1 < box.y2 <= 300
