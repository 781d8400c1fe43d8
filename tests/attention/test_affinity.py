"""Which places look alike, against loops, and maps carried over to them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import networks
import reference
from looktwice import attend
from looktwice.attention.affinity import PROPAGATION_POWER, Affinity, Features, propagate_map
from looktwice.attention.methods import METHODS
from looktwice.errors import ModelError
from looktwice.gating import activation_calls


def alike(network, images: Tensor) -> Affinity:
    features = Features()
    activation_calls(network, images, features.look)
    found = features.affinity()
    assert found is not None
    return found


def test_affinity_by_loops():
    network, images = networks.branching(), networks.pictures(2)
    found = alike(network, images)
    outputs = [x for x in reference.relu_outputs(reference.branching_scores(network), images) if x.ndim == 4]
    finest = [x for x in outputs if x.shape[2:] == (9, 8)]  # the nearest to 28×28 of 9×8 and 5×4
    assert len(finest) < len(outputs)
    assert found.grid == (9, 8)
    for image, weights in enumerate(found.weights):
        assert torch.allclose(weights, torch.from_numpy(reference.affinity([x[image].numpy() for x in finest])))


def two_halves(images: Tensor) -> Tensor:
    """Scores of a map that is told by colour alone."""
    return F.relu(images).mean((2, 3))


def test_attention_on_a_part_is_carried_over_to_all_of_its_colour():
    images = torch.zeros(1, 3, 28, 28, dtype=torch.float64)
    images[:, 0, :, :20], images[:, 1, :, 20:] = 1.0, 1.0
    heat = torch.zeros(1, 28, 28, dtype=torch.float64)
    heat[:, 3:5, 3:5] = 2.0
    found = propagate_map(heat, alike(two_halves, images))
    expected = torch.zeros_like(heat)
    expected[:, :, :20] = 4 / (28 * 20)
    assert torch.allclose(found, expected, atol=1e-12)


def test_the_grid_is_the_nearest_to_28_by_28_whatever_the_side():
    def network(images: Tensor) -> Tensor:
        for _ in range(4):
            images = F.relu(F.avg_pool2d(images, 2))
        return images.mean((2, 3))

    for side, grid in ((112, 28), (224, 28), (448, 28), (320, 20), (64, 32)):
        images = torch.rand(1, 3, side, side)
        assert alike(network, images).grid == (grid, grid)


def test_where_nothing_varies_a_map_keeps_its_energy():
    images = torch.ones(2, 3, 28, 28)
    heat = torch.rand(2, 28, 28)
    kept = heat / heat.amax((1, 2), keepdim=True)
    assert torch.allclose(propagate_map(heat, alike(two_halves, images)), kept.square(), atol=1e-6)


def test_a_map_is_carried_over_whatever_its_scale_and_a_zero_map_stays_zero():
    images = torch.rand(3, 3, 30, 20)
    heat = torch.rand(3, 30, 20)
    heat[2] = 0
    weights = alike(two_halves, images)
    found = propagate_map(heat, weights)
    assert torch.allclose(found, propagate_map(1e-25 * heat, weights), rtol=1e-4)
    assert torch.equal(found[2], torch.zeros(30, 20))
    assert (found >= 0).all()


def test_images_of_a_batch_do_not_see_one_another():
    network, images = networks.branching(), networks.pictures(3)
    together, alone = alike(network, images), alike(network, images[1:2])
    assert torch.allclose(together.weights[1:2], alone.weights, atol=1e-12)


class NoMaps(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return F.relu(images.mean((2, 3)))


def test_no_map_to_compare_places_of_is_refused():
    with pytest.raises(ModelError, match="propagate=False"):
        attend(NoMaps(), torch.rand(1, 3, 8, 8), 0, method="gradient", propagate=True)


@pytest.mark.parametrize("method", ["gradient", "guided_backprop", "feedback", "global_feedback", "grad_cam"])
def test_every_method_may_have_its_map_carried_over(method):
    if METHODS[method].attribute is not None:
        pytest.importorskip("pytorch_grad_cam")
    network, images = networks.branching().float(), networks.pictures(2).float()
    options = {"values": "maximum", "blur": 0.0}
    plain = attend(network, images, 1, method=method, propagate=False, **options).extents
    found = attend(network, images, 1, method=method, propagate=True, **options).extents
    # The evidence of this network has a single resolution.
    power = 1 if method == "global_feedback" else PROPAGATION_POWER
    expected = propagate_map(plain, alike(network, images), power=power)
    assert torch.allclose(found, expected / expected.amax((1, 2), keepdim=True), atol=1e-5)


@pytest.mark.parametrize(("stride", "power"), [(4, 1), (8, 2)])
def test_evidence_of_a_single_resolution_is_carried_over_as_it_is_and_that_of_several_squared(stride, power):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 4, 4),
        nn.GELU(),
        nn.Conv2d(8, 8, stride // 4, stride // 4),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    images, options = torch.rand(2, 3, 64, 64), {"values": "maximum", "blur": 0.0}
    plain = attend(network, images, 1, propagate=False, **options).extents
    found = attend(network, images, 1, propagate=True, **options).extents
    carried = propagate_map(plain, alike(network, images), power=power)
    assert torch.allclose(found, carried / carried.amax((1, 2), keepdim=True), atol=1e-5)


def test_features_are_seen_before_the_network_writes_on_them():
    def writing(images: Tensor) -> Tensor:
        early = F.relu(images)
        scores = early.mean((2, 3))
        early.zero_()
        return scores

    images = torch.rand(1, 3, 6, 6)
    assert torch.equal(alike(writing, images).weights, alike(two_halves, images).weights)
