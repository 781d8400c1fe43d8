"""The attribution in captum's own tools: visualization, infidelity, sensitivity, noise tunnel."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, visualization
from captum.metrics import infidelity, sensitivity_max

from looktwice import attend
from looktwice.adapters.captum import LooktwiceAttribution
from looktwice.errors import InputError, ModelError, OptionError
from networks import Plain, branching, outside, pictures
from token_networks import Transformer

matplotlib.use("Agg")
FEW = {"steps": 2}


def test_the_channels_add_up_to_the_map():
    network, images = branching(), pictures(3)
    found = LooktwiceAttribution(network, **FEW).attribute(images, target=[4, 0, 2])
    maps = attend(network, images, [4, 0, 2], **FEW).maps
    assert found.shape == images.shape
    assert found.dtype == torch.float64
    assert torch.allclose(found.sum(1), maps, atol=1e-12)
    assert torch.equal(found[:, 0], found[:, 2])
    assert not found.requires_grad


@pytest.mark.parametrize("method", ["gradient", "feedback", "grad_cam"])
def test_every_method_has_the_same_form(method):
    network, images = branching(), pictures(2)
    found = LooktwiceAttribution(network, method).attribute(images, target=1)
    assert torch.allclose(found.sum(1), attend(network, images, 1, method=method).maps, atol=1e-12)


def test_options_of_a_call_go_before_those_of_the_attribution():
    network, images = branching(), pictures(2)
    attribution = LooktwiceAttribution(network, steps=1, blur=0.1)
    found = attribution.attribute(images, 1, steps=3).sum(1)
    assert torch.allclose(found, attend(network, images, 1, steps=3, blur=0.1).maps, atol=1e-12)
    assert not torch.allclose(found, attribution.attribute(images, 1).sum(1), atol=1e-6)


@pytest.mark.parametrize(
    "target",
    [2, np.int64(2), torch.tensor(2), torch.tensor([2]), [2, 2], torch.tensor([2, 2]), torch.tensor([[2], [2]])],
    ids=repr,
)
def test_targets_are_those_of_captum(target):
    network, images = branching(), pictures(2)
    attribution = LooktwiceAttribution(network, **FEW)
    assert torch.equal(attribution.attribute(images, target=target), attribution.attribute(images, target=[2, 2]))


def test_no_target_is_the_prediction():
    network, images = branching(), pictures(3)
    attribution = LooktwiceAttribution(network, **FEW)
    predicted = network(images).argmax(1)
    assert torch.equal(attribution.attribute(images), attribution.attribute(images, target=predicted))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ((1, 2), "tuple"),
        ([(1, 2), (0, 1)], "tuple"),
        ([1, 2, 3], "3 targets for 2 images"),
        ([1], "1 targets for 2 images"),
        (torch.tensor([1, 2, 3]), "3 targets for 2 images"),
        (1.5, "whole numbers"),
        (True, "whole numbers"),
        ("cat", "whole numbers"),
        (2**70, "whole numbers"),
        (99, "out of range"),
        (-1, "out of range"),
    ],
    ids=repr,
)
def test_other_targets_are_refused_in_one_line(target, said):
    with pytest.raises(InputError, match=said) as caught:
        LooktwiceAttribution(branching(), **FEW).attribute(pictures(2), target=target)
    assert "\n" not in str(caught.value)


def test_several_classes_of_a_single_image_are_refused_because_captum_wants_one_map():
    with pytest.raises(InputError, match="2 targets for 1 images"):
        LooktwiceAttribution(branching(), **FEW).attribute(pictures(1), target=[1, 2])


def test_a_tuple_with_one_tensor_gives_a_tuple():
    network, images = branching(), pictures(2)
    attribution = LooktwiceAttribution(network, **FEW)
    (found,) = attribution.attribute((images,), target=1)
    assert torch.equal(found, attribution.attribute(images, target=1))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)), "tuple of 2"),
        ((), "tuple of 0"),
        (torch.rand(3, 8, 8), "images\\[None\\]"),
        ([torch.rand(1, 3, 8, 8)], "list"),
        (torch.randint(0, 9, (1, 3, 8, 8)), "floating point"),
    ],
)
def test_other_inputs_are_refused(inputs, said):
    with pytest.raises(InputError, match=said):
        LooktwiceAttribution(branching(), **FEW).attribute(inputs, target=1)


def test_what_cannot_be_used_is_refused_at_once():
    with pytest.raises(ModelError, match=r"torch\.nn\.Module is needed, not function"):
        LooktwiceAttribution(lambda images: images)
    with pytest.raises(OptionError, match="did you mean"):
        LooktwiceAttribution(branching(), step=3)
    attribution = LooktwiceAttribution(branching(), **FEW)
    with pytest.raises(OptionError, match="baselines"):
        attribution.attribute(pictures(1), 1, baselines=0)
    for name in ("method", "targets", "output"):  # attend's own, which are no options of a method
        with pytest.raises(OptionError, match=name):
            attribution.attribute(pictures(1), 1, **{name: "gradient"})
    with pytest.raises(InputError, match="additional_forward_args"):
        attribution.attribute(pictures(1), 1, additional_forward_args=(1,))


def test_the_model_and_the_inputs_are_left_as_found():
    network = branching().train()
    images = pictures(2).requires_grad_()
    before = outside(network)
    attribution = LooktwiceAttribution(network, **FEW)
    with torch.no_grad():
        under_no_grad = attribution.attribute(images, target=1)
    assert torch.equal(under_no_grad, attribution.attribute(images, target=1))
    assert outside(network) == before
    assert images.grad is None
    assert images.requires_grad
    assert torch.equal(under_no_grad, LooktwiceAttribution(branching_like(network).eval(), **FEW).attribute(images, 1))


def branching_like(network):
    other = branching()
    other.load_state_dict(network.state_dict())
    return other


def test_a_data_parallel_model_is_its_module():
    network, images = branching(), pictures(2)
    found = LooktwiceAttribution(torch.nn.DataParallel(network), **FEW).attribute(images, 1)
    assert torch.equal(found, LooktwiceAttribution(network, **FEW).attribute(images, 1))


# captum's tools.


@pytest.mark.parametrize("sign", ["positive", "absolute_value"])
@pytest.mark.parametrize("kind", ["heat_map", "blended_heat_map", "masked_image", "alpha_scaling"])
def test_captum_draws_it(kind, sign):
    found = LooktwiceAttribution(branching(), **FEW).attribute(pictures(1, 24, 20), target=1)
    picture = np.random.default_rng(0).random((24, 20, 3))
    figure, axes = visualization.visualize_image_attr(
        found[0].permute(1, 2, 0).numpy(), picture, method=kind, sign=sign, use_pyplot=False
    )
    assert axes.get_images()
    figure.canvas.draw()


def test_what_captum_draws_is_the_map():
    network, images = branching(), pictures(1, 24, 20)
    found = LooktwiceAttribution(network, **FEW).attribute(images, target=1)
    attr = found[0].permute(1, 2, 0).numpy()
    _, axes = visualization.visualize_image_attr(
        attr, method="heat_map", sign="positive", outlier_perc=0, use_pyplot=False
    )
    drawn = np.asarray(axes.get_images()[0].get_array())
    np.testing.assert_allclose(drawn, attend(network, images, 1, **FEW).maps[0].numpy(), atol=1e-12)
    visualization.visualize_image_attr_multiple(
        attr, np.zeros((24, 20, 3)), ["original_image", "heat_map"], ["all", "positive"], use_pyplot=False
    )


def perturbed(inputs):
    noise = 0.1 * torch.randn_like(inputs)
    return noise, inputs - noise


def test_infidelity_of_it_is_captum_s_formula():
    """Yeh et al. 2019, normalised: the least mean square over a factor of the attribution; here it is done by hand."""
    network, images = branching(), pictures(2)
    found = LooktwiceAttribution(network, **FEW).attribute(images, target=1)
    torch.manual_seed(1)
    judged = infidelity(network, perturbed, images, found, target=1, n_perturb_samples=8, normalize=True)
    torch.manual_seed(1)
    repeated = images.repeat_interleave(8, dim=0)
    noise, moved = perturbed(repeated)
    with torch.no_grad():
        change = (network(repeated) - network(moved))[:, 1].view(2, 8)
    told = (found.repeat_interleave(8, dim=0) * noise).flatten(1).sum(1).view(2, 8)
    factor = (told * change).sum(1) / (told * told).sum(1)
    assert torch.allclose(judged, (factor[:, None] * told - change).square().mean(1))
    doubled = 2 * found
    torch.manual_seed(1)
    again = infidelity(network, perturbed, images, doubled, target=1, n_perturb_samples=8, normalize=True)
    assert torch.allclose(judged, again)


@pytest.mark.parametrize("target", [1, [1, 3], torch.tensor([1, 3])], ids=repr)
def test_sensitivity_max_takes_it(target):
    network, images = branching(), pictures(2)
    attribution = LooktwiceAttribution(network, **FEW)
    found = sensitivity_max(attribution.attribute, images, target=target, n_perturb_samples=3)
    assert found.shape == (2,)
    assert ((found > 0) & found.isfinite()).all()
    still = sensitivity_max(
        attribution.attribute, images, perturb_func=lambda inputs: inputs, target=target, n_perturb_samples=2
    )
    assert torch.allclose(still, torch.zeros(2, dtype=still.dtype), atol=1e-9)


@pytest.mark.parametrize("kind", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_a_noise_tunnel_averages_it(kind):
    network, images = branching(), pictures(2)
    attribution = LooktwiceAttribution(network, **FEW)
    torch.manual_seed(3)
    found = NoiseTunnel(attribution).attribute(images, nt_type=kind, nt_samples=3, stdevs=0.2, target=[1, 3])
    torch.manual_seed(3)
    noisy = torch.normal(0, torch.full((6, *images.shape[1:]), 0.2)).double() + images.repeat_interleave(3, dim=0)
    each = attribution.attribute(noisy, target=[1, 1, 1, 3, 3, 3]).unflatten(0, (2, 3))
    mean, squares = each.mean(1), each.square().mean(1)
    by_hand = {"smoothgrad": mean, "smoothgrad_sq": squares, "vargrad": squares - mean.square()}
    assert found.shape == images.shape
    assert torch.allclose(found, by_hand[kind], atol=1e-6)


def test_a_transformer_works_too():
    network = Transformer(grid=(8, 8))
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    found = LooktwiceAttribution(network, **FEW).attribute(images, target=1)
    assert found.shape == images.shape
    assert found.sum(1).amax() == pytest.approx(1)


def test_single_and_half_precision_stay():
    network = Plain().eval()
    for dtype in (torch.float32, torch.bfloat16):
        found = LooktwiceAttribution(network.to(dtype), **FEW).attribute(torch.rand(1, 3, 8, 8, dtype=dtype), 1)
        assert found.dtype == dtype


def test_without_captum_the_extra_is_named():
    code = "import sys; sys.modules['captum'] = None\nimport looktwice.adapters.captum"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "looktwice[peers]" in ran.stderr.splitlines()[-1]
