"""Images of any number of channels and any size."""

import re

import pytest
import torch
from torch import nn

import looktwice
from looktwice.errors import InputError


def network(channels):
    """A network whose first class is the brightness of the last channel, at a place's own mean."""
    net = nn.Sequential(
        nn.Conv2d(channels, 4, 4, 4), nn.ReLU(), nn.Conv2d(4, 4, 2, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    with torch.no_grad():
        for index in (0, 2):
            net[index].weight.zero_()
            net[index].bias.zero_()
        net[0].weight[:, -1] = 1 / 16
        net[2].weight[:, :] = 1 / 16
        net[6].weight.copy_(torch.tensor([[1.0] * 4, [0.0] * 4, [-1.0] * 4]))
    return net


@pytest.mark.parametrize("method", ["gradient", "feedback", "global_feedback", "grad_cam"])
@pytest.mark.parametrize("size", [(64, 64), (48, 96), (96, 48)])
@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_the_map_has_its_peak_on_the_object_whatever_the_channels_and_the_size(channels, size, method):
    images = torch.full((1, channels, *size), 0.01)
    images[:, -1, 16:32, 24:40] = 1.0
    options = {"source": "evidence"} if method == "gradient" else {}
    heat = looktwice.attend(network(channels), images, 0, method=method, **options).maps[0]
    assert heat.shape == size
    row, column = divmod(int(heat.argmax()), size[1])
    assert 16 <= row < 32
    assert 24 <= column < 40


@pytest.mark.parametrize("method", ["gradient", "global_feedback", "grad_cam"])
@pytest.mark.parametrize(("channels", "given"), [(3, 1), (1, 3), (4, 3), (3, 4), (6, 3)])
def test_images_with_other_channels_than_the_networks_are_refused_in_a_line(channels, given, method):
    many = {1: "1 channel"}
    needed, seen = (many.get(number, f"{number} channels") for number in (channels, given))
    said = f"the images have {seen}, and the network takes {needed}; give images with {needed}"
    with pytest.raises(InputError, match=re.escape(said)):
        looktwice.attend(network(channels), torch.rand(1, given, 64, 64), 0, method=method)


def test_an_error_of_the_networks_own_stays_as_it_is():
    class Breaks(nn.Module):
        def forward(self, images):
            raise RuntimeError("my own reason")

    with pytest.raises(RuntimeError, match="my own reason"):
        looktwice.attend(Breaks(), torch.rand(1, 3, 8, 8), 0)


@pytest.mark.parametrize("method", ["gradient", "global_feedback", "grad_cam"])
@pytest.mark.parametrize("targets", [1, [1, 0], None])
def test_the_default_device_is_left_to_the_user(targets, method):
    """As after ``torch.set_default_device("cuda")``: what is made without a device lies where no number is."""
    images = torch.rand(2, 3, 64, 64)
    expected = looktwice.attend(network(3), images, targets, method=method)
    model = network(3)
    with torch.device("meta"):
        found = looktwice.attend(model, images, targets, method=method)
    assert torch.equal(found.maps, expected.maps)
    assert found.targets.tolist() == expected.targets.tolist()
