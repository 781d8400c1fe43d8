"""The form of pytorch-grad-cam, in its own pictures and metrics."""

import sys

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.metrics.cam_mult_image import CamMultImageConfidenceChange, DropInConfidence
from pytorch_grad_cam.metrics.road import ROADCombined, ROADMostRelevantFirst
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import (
    BinaryClassifierOutputTarget,
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
)

from looktwice import attend
from looktwice.adapters.grad_cam import GlobalFeedbackCAM
from looktwice.errors import InputError, MissingExtraError, OptionError
from networks import Plain, branching, outside, pictures

FEW = {"steps": 2}


@pytest.fixture
def network():
    return Plain().eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 16, 16)


def targets(*categories):
    return [ClassifierOutputTarget(category) for category in categories]


def test_it_is_the_map_in_single_precision():
    network, images = branching(), pictures(2)
    with GlobalFeedbackCAM(model=network, **FEW) as cam:
        found = cam(input_tensor=images, targets=targets(4, 2))
    assert (found.shape, found.dtype) == ((2, 9, 8), np.float32)
    np.testing.assert_array_equal(found, attend(network, images, [4, 2], **FEW).maps.float().numpy())
    assert found.min() >= 0
    assert found.max() == 1


def test_its_form_is_that_of_their_own_method(network, images):
    with GradCAM(model=network, target_layers=[network.relu]) as theirs:
        expected = theirs(input_tensor=images, targets=targets(1, 2))
    with GlobalFeedbackCAM(model=network, **FEW) as ours:
        found = ours(input_tensor=images, targets=targets(1, 2))
    assert (type(found), found.dtype, found.shape) == (type(expected), expected.dtype, expected.shape)
    with GlobalFeedbackCAM(model=network, method="grad_cam") as ours:
        np.testing.assert_allclose(ours(images, targets(1, 2)), expected, atol=1e-5)


def test_no_targets_are_the_predictions(network, images):
    cam = GlobalFeedbackCAM(network, **FEW)
    np.testing.assert_array_equal(cam(images), cam(images, targets(*network(images).argmax(1).tolist())))
    np.testing.assert_array_equal(cam(images, targets=None, aug_smooth=False, eigen_smooth=False), cam(images))


@pytest.mark.parametrize("category", [np.int64(2), torch.tensor(2), torch.tensor([2])], ids=repr)
def test_a_category_may_be_any_whole_number(network, images, category):
    cam = GlobalFeedbackCAM(network, **FEW)
    np.testing.assert_array_equal(cam(images, targets(category, 2)), cam(images, targets(2, 2)))


class Squared(ClassifierOutputTarget):
    def __call__(self, scores):
        return super().__call__(scores) ** 2


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ([ClassifierOutputSoftmaxTarget(1)] * 2, "a target is ClassifierOutputSoftmaxTarget; only"),
        ([BinaryClassifierOutputTarget(1)] * 2, "only ClassifierOutputTarget"),
        ([Squared(1)] * 2, "a target is Squared; only"),
        ([lambda scores: scores[1]] * 2, "a target is function; only"),
        ([1, 2], "a target is int; only"),
        (ClassifierOutputTarget(1), "a list"),
        (torch.tensor([1, 2]), "a list"),
        (targets(1), "1 targets for 2 images"),
        (targets(1, 2, 3), "3 targets for 2 images"),
        ([], "0 targets for 2 images"),
        (targets(1, 99), "out of range"),
        (targets(1, 1.5), "whole number"),
        (targets(1, True), "whole number"),
        (targets(1, [1, 2]), "whole number"),
    ],
)
def test_other_targets_are_refused_in_one_line(network, images, wanted, said):
    with pytest.raises(InputError, match=said) as caught:
        GlobalFeedbackCAM(network, **FEW)(images, wanted)
    assert "\n" not in str(caught.value)


def test_one_target_for_several_images_is_refused_where_theirs_drops_images(network, images):
    """Theirs pairs targets with images and forgets the images that are left over."""
    with pytest.raises(InputError, match="1 targets for 2 images"):
        GlobalFeedbackCAM(network, **FEW)(images, targets(1))


def test_what_has_no_meaning_here_is_refused(network, images):
    with pytest.raises(OptionError, match="target_layers'; did you mean layers"):
        GlobalFeedbackCAM(network, target_layers=[network.relu])
    with pytest.raises(OptionError, match="reshape_transform"):
        GlobalFeedbackCAM(network, reshape_transform=None)
    for smooth in ("aug_smooth", "eigen_smooth"):
        with pytest.raises(OptionError, match=smooth):
            GlobalFeedbackCAM(network, **FEW)(images, None, **{smooth: True})
    for inputs in (np.zeros((1, 3, 8, 8)), images[0], [images]):
        with pytest.raises(InputError, match="tensor"):
            GlobalFeedbackCAM(network, **FEW)(inputs)


def test_the_model_is_left_as_found_inside_the_with_and_after_an_error():
    network = branching().train()
    before, images = outside(network), pictures(2).requires_grad_()
    with GlobalFeedbackCAM(network, **FEW) as cam:
        assert outside(network) == before
        with torch.no_grad():
            found = cam(images, targets(1, 2))
        assert outside(network) == before
    with pytest.raises(IndexError), GlobalFeedbackCAM(network, **FEW) as cam:  # theirs swallows it
        raise IndexError
    assert outside(network) == before
    assert images.grad is None
    np.testing.assert_array_equal(found, GlobalFeedbackCAM(network, **FEW)(images, targets(1, 2)))


# Their pictures and metrics.


def test_their_overlay_takes_it(network, images):
    found = GlobalFeedbackCAM(network, **FEW)(images, targets(1, 2))
    picture = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    drawn = show_cam_on_image(picture, found[0], use_rgb=True)
    assert (drawn.shape, drawn.dtype) == ((16, 16, 3), np.uint8)


def test_their_confidence_change_is_that_of_the_image_times_the_map(network, images):
    wanted = targets(1, 2)
    found = GlobalFeedbackCAM(network, **FEW)(images, wanted)
    change, seen = CamMultImageConfidenceChange()(images, found, wanted, network, return_visualization=True)
    with torch.no_grad():
        moved = images * torch.from_numpy(found)[:, None]
        by_hand = (network(moved) - network(images))[[0, 1], [1, 2]]
    assert torch.equal(seen, moved)
    np.testing.assert_allclose(change, by_hand.numpy(), atol=1e-6)
    np.testing.assert_allclose(DropInConfidence()(images, found, wanted, network), np.maximum(-change, 0))


def test_their_remove_and_debias_takes_it(network, images):
    wanted = targets(1, 2)
    found = GlobalFeedbackCAM(network, **FEW)(images, wanted)
    for metric in (ROADMostRelevantFirst(percentile=75), ROADCombined(percentiles=[50, 75])):
        judged = metric(images, found, wanted, network)
        assert np.shape(judged) == (2,)
        assert np.isfinite(judged).all()


def test_without_their_package_the_extra_is_named(network, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam.utils.model_targets", None)
    with pytest.raises(MissingExtraError, match=r"looktwice\[peers\]"):
        GlobalFeedbackCAM(network, **FEW)(images, targets(1, 2))
    assert GlobalFeedbackCAM(network, **FEW)(images).shape == (2, 16, 16)
