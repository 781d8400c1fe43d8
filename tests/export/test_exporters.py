"""Findings as files: what the record says, and what the picture shows."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from looktwice.export import EXPORTERS, Finding
from looktwice.export.record import record
from looktwice.images import Window
from looktwice.localization import BoxRule, locate


@pytest.fixture
def finding() -> Finding:
    heat = np.zeros((20, 20))
    heat[5:10, 8:16] = 1
    window, rule = Window.whole(40, 60), BoxRule("contour")
    return Finding(
        path=Path("photos/cat.jpg"),
        picture=Image.new("RGB", (400, 600), "gray"),
        window=window,
        model="net",
        weights="by hand",
        class_index=3,
        class_name="tabby",
        probability=0.25,
        method="gradient",
        method_title="Gradient",
        options={"blur": 0.02},
        scores=[1.0, 2.5],
        closed_layers=0,
        heat=heat,
        rule=rule,
        boxes=locate(heat, window, rule),
    )


def test_every_exporter_writes_one_whole_file_and_says_which(finding: Finding, tmp_path: Path):
    written = [export(finding, tmp_path / "cat.3") for export in EXPORTERS.values()]
    assert [path.name for path in written] == ["cat.3.png", "cat.3.json"]
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_the_record_holds_what_a_program_needs(finding: Finding, tmp_path: Path):
    path = EXPORTERS["record"](finding, tmp_path / "cat.3")
    found = json.loads(path.read_text())
    assert found == json.loads(json.dumps(record(finding)))
    assert found["target"] == {"index": 3, "name": "tabby"}
    assert (found["width"], found["height"]) == (40, 60)
    assert found["boxes"] == [{"x1": 16.0, "y1": 15.0, "x2": 32.0, "y2": 30.0, "score": 1.0}]
    assert found["box_rule"] == BoxRule("contour").as_dict()


def test_the_picture_is_the_image_with_its_map_above_a_caption(finding: Finding, tmp_path: Path):
    with Image.open(EXPORTERS["picture"](finding, tmp_path / "cat.3")) as picture:
        assert picture.width == 420
        assert picture.height > 600
        inside, outside = picture.getpixel((10 + 240, 225)), picture.getpixel((10 + 100, 500))
    assert inside[0] > 2 * inside[2]  # the red end of the colours on the map's maximum
    assert outside == (128, 128, 128)  # the picture itself where the map is zero
