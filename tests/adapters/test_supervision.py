"""Boxes as detections of supervision, and what its own tools make of them."""

import sys

import numpy as np
import pytest
from PIL import Image

from looktwice import locate
from looktwice.adapters.supervision import to_detections
from looktwice.errors import InputError, MissingExtraError
from looktwice.images import Window
from looktwice.localization import Box, BoxRule, find_boxes

sv = pytest.importorskip("supervision")
WINDOW = Window.of_crop(90, 60, resize=48, crop=40)


@pytest.fixture
def heat():
    heat = np.zeros((40, 40))
    heat[4:14, 5:20] = 1.0
    heat[8:10, 8:12] = 0  # a hole
    heat[24:36, 22:34] = 0.7
    return heat


@pytest.fixture
def boxes(heat):
    found = locate(heat, WINDOW, BoxRule("contour", 0.3))
    assert len(found) == 2
    return found


def test_corners_scores_and_classes_are_those_of_the_boxes(boxes):
    found = to_detections(boxes, 281, "tabby")
    np.testing.assert_array_equal(found.xyxy, np.float32([box.corners for box in boxes]))
    np.testing.assert_array_equal(found.confidence, np.float32([box.score for box in boxes]))
    assert found.class_id.tolist() == [281, 281]
    assert found.data["class_name"].tolist() == ["tabby", "tabby"]
    assert found.mask.shape == (2, 60, 90)
    assert found.mask.dtype == np.bool_


@pytest.mark.parametrize("rule", [BoxRule(), BoxRule("contour", 0.3), BoxRule("energy", 0.9)])
def test_masks_are_the_regions_and_lie_in_the_boxes(heat, rule):
    boxes = locate(heat, WINDOW, rule)
    found = to_detections(boxes, 1)
    for box, mask, inside in zip(boxes, found.mask, sv.mask_to_xyxy(found.mask), strict=True):
        np.testing.assert_array_equal(mask, box.region.mask(90, 60))
        assert (inside[:2] + 1 >= box.corners[:2]).all()
        assert (inside[2:] <= box.corners[2:]).all()  # supervision counts the last pixel, our ends are after it


def test_boxes_in_pixels_of_the_map_have_masks_of_the_map(heat):
    wide = heat[:30]
    boxes = find_boxes(wide)
    found = to_detections(boxes, 1)
    assert found.mask.shape == (len(boxes), 30, 40)
    np.testing.assert_array_equal(found.mask[0], boxes[0].region.mask(40, 30))


def test_boxes_without_regions_have_no_masks():
    found = to_detections([Box(1.0, 2.0, 5.0, 6.0, 0.5)], 3)
    assert found.mask is None
    assert found.xyxy.tolist() == [[1, 2, 5, 6]]
    assert "class_name" not in found.data


def test_no_boxes_are_empty_detections():
    found = to_detections((), 281, "tabby")
    assert found == sv.Detections.empty()
    assert found.xyxy.shape == (0, 4)
    assert (len(found), found.confidence.shape, found.class_id.shape) == (0, (0,), (0,))


def test_boxes_that_do_not_belong_together_are_refused(heat, boxes):
    with pytest.raises(InputError, match="1 of 3 boxes have no region"):
        to_detections([*boxes, Box(1.0, 2.0, 5.0, 6.0, 0.5)], 1)
    other = locate(heat, Window.whole(30, 20))
    with pytest.raises(InputError, match="pictures with 30×20 and 90×60 pixels"):
        to_detections([*boxes, *other], 1)


# supervision's tools.


@pytest.mark.parametrize(
    "name", ["BoxAnnotator", "MaskAnnotator", "PolygonAnnotator", "LabelAnnotator", "HaloAnnotator"]
)
@pytest.mark.parametrize("some", [True, False])
def test_annotators_draw_them(name, some, boxes):
    scene = np.zeros((60, 90, 3), dtype=np.uint8)
    drawn = getattr(sv, name)().annotate(scene.copy(), to_detections(boxes if some else (), 281, "tabby"))
    assert drawn.any() == some


def test_what_the_mask_annotator_paints_is_the_regions(boxes):
    scene = np.zeros((60, 90, 3), dtype=np.uint8)
    drawn = sv.MaskAnnotator(opacity=1.0).annotate(scene, to_detections(boxes, 0))
    regions = np.any([box.region.mask(90, 60) for box in boxes], axis=0)
    np.testing.assert_array_equal(drawn.any(axis=2), regions)


def test_detections_of_several_classes_join_and_are_filtered(heat, boxes):
    other = to_detections(locate(heat.T, WINDOW), 7, "espresso")
    both = sv.Detections.merge([to_detections(boxes, 281, "tabby"), other, to_detections((), 3, "cup")])
    assert len(both) == 2 + len(other)
    assert set(both.data["class_name"]) == {"tabby", "espresso"}
    assert (both[both.confidence >= 0.1].class_id == 7).sum() >= 1


def test_a_coco_file_of_theirs_has_the_boxes(tmp_path, boxes):
    picture = str(tmp_path / "cat.png")
    Image.new("RGB", (90, 60)).save(picture)
    data = sv.DetectionDataset(
        classes=["cup", "tabby"],
        images=[picture],
        annotations={picture: to_detections(boxes, 1, "tabby")},
    )
    data.as_coco(images_directory_path=str(tmp_path / "images"), annotations_path=str(tmp_path / "coco.json"))
    read = sv.DetectionDataset.from_coco(str(tmp_path / "images"), str(tmp_path / "coco.json"))
    ((_, _, found),) = list(read)
    np.testing.assert_allclose(found.xyxy, [box.corners for box in boxes], atol=1)
    assert found.class_id.tolist() == [1, 1]


def test_without_supervision_the_extra_is_named(boxes, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"looktwice\[supervision\]"):
        to_detections(boxes, 1)
