"""Defaults on torchvision's families with ReLUs. The weights are random: it is about soundness, not about objects."""

import pytest
import torch

from looktwice import attend, load_model, read_image

NETWORKS = [
    "alexnet",
    "densenet121",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "regnet_x_400mf",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "vgg11",
]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["feedback", "global_feedback"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gates_move_and_none_of_the_layers_dies(name, method):
    model = load_model(name, weights="random")
    images = torch.cat([model.prepare(read_image(f"examples/images/{photo}.jpg"))[0] for photo in ("cat", "rocket")])
    # Double: an untrained GoogLeNet passes so little on that a score's change is lost in single precision.
    found = attend(model.module.double(), images.double(), [282, 657], method=method)
    share_open = torch.stack([z.flatten(1).mean(1) for z in found.gates]).mean(0)
    assert ((share_open > 0.02) & (share_open < 0.98)).all()
    assert all(z.flatten(1).amax(1).min() > 0 for z in found.gates)
    assert found.closed == ()
    assert (found.scores[:, -1] > found.scores[:, 0]).all()
    assert found.maps.flatten(1).amax(1).tolist() == [1, 1]
