"""What was found in an image comes back from JSON as it was, to the last bit."""

import json
from pathlib import Path

import numpy as np
import pytest

from looktwice.datasets import Sample
from looktwice.decoding import Orientation
from looktwice.export.label_set import ImageClass, LabelledObject
from looktwice.images import Window
from looktwice.labelling.images import RunImage
from looktwice.labelling.records import FoundImage, from_record, to_record
from looktwice.localization import BoxRule, locate

SAMPLE = Sample("a/1.jpg", Path("/data/a/1.jpg"), (3,), ((),))
PLAIN = RunImage(SAMPLE, "a/1")


def found_image(rule, window, seed=0):
    noise = np.random.default_rng(seed).random((56, 56))
    heat = np.kron(noise, np.ones((4, 4))) ** 3
    objects = tuple(LabelledObject(number % 2, box) for number, box in enumerate(locate(heat, window, rule)))
    assert objects
    decoded = RunImage(SAMPLE, "a/1", window, Orientation(6, (333, 500)), "is doubtful")
    return FoundImage(decoded, (ImageClass(0, 1 / 3, True), ImageClass(1, 0.1, False)), objects)


@pytest.mark.parametrize("rule", [BoxRule(), BoxRule("contour"), BoxRule("energy", 0.8)])
@pytest.mark.parametrize(
    "window",
    [Window.whole(500, 333), Window(83.3, -10.25, 416.7, 343.5, 500, 333), Window.whole(3, 5000)],
)
def test_boxes_and_regions_come_back(rule, window):
    before = found_image(rule, window)
    after = from_record(PLAIN, json.loads(json.dumps(to_record(before))))
    assert after == before
    for one, other in zip(before.objects, after.objects, strict=True):
        assert other.box.region.polygons == one.box.region.polygons
        size = (window.width, window.height)
        np.testing.assert_array_equal(other.box.region.mask(*size), one.box.region.mask(*size))


def test_the_image_for_the_forms_has_all_of_it():
    found = found_image(BoxRule(), Window.whole(500, 333))
    image = found.labelled()
    assert (image.id, image.name, image.file, image.width, image.height) == ("a/1.jpg", "a/1", SAMPLE.image, 500, 333)
    assert (image.classes, image.objects, image.notes) == (found.classes, found.objects, ("is doubtful",))
    assert image.orientation == Orientation(6, (333, 500))


def test_an_image_that_cannot_be_used_keeps_only_its_error():
    decoded = RunImage(SAMPLE, "a/1", error="a/1.jpg: is empty", digest="e3b0")
    record = to_record(FoundImage(decoded, error="a/1.jpg: is empty"))
    assert record == {"id": "a/1.jpg", "file": "e3b0", "error": "a/1.jpg: is empty"}
    after = from_record(PLAIN, record)
    assert (after.error, after.labelled(), after.image.digest) == ("a/1.jpg: is empty", None, "e3b0")


def test_a_record_of_another_image_is_refused():
    with pytest.raises(ValueError, match=r"it has b\.jpg where a/1\.jpg belongs"):
        from_record(PLAIN, {"id": "b.jpg", "file": None, "error": "x"})
