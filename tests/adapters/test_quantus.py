"""The explanation function in Quantus' own metrics."""

import numpy as np
import pytest
import torch

from looktwice import attend
from looktwice.adapters.quantus import explain_func
from looktwice.errors import InputError, ModelError, OptionError
from networks import Plain, branching, outside, pictures

quantus = pytest.importorskip("quantus")
FEW = {"steps": 2}
SETTINGS = {"disable_warnings": True, "display_progressbar": False}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Plain().eval()


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 3, 16, 16)).astype(np.float32), np.array([0, 3, 1])


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_it_is_the_map_with_an_axis_for_channels(kind):
    network, images = branching(), pictures(3)
    found = explain_func(network, kind(images), kind([4, 0, 2]), **FEW)
    assert isinstance(found, np.ndarray)
    assert found.shape == (3, 1, 9, 8)
    np.testing.assert_array_equal(found[:, 0], attend(network, images, [4, 0, 2], **FEW).maps.numpy())


def test_its_shape_is_that_of_quantus_own(network, batch):
    theirs = quantus.explain(network, *batch, method="Saliency")
    assert explain_func(network, *batch, **FEW).shape == theirs.shape


def test_images_in_double_precision_are_those_of_a_single_precision_model(network, batch):
    found = explain_func(network, batch[0].astype(np.float64), batch[1], **FEW)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, explain_func(network, *batch, **FEW))
    turned = batch[0][..., ::-1].astype(">f8")
    turned.flags.writeable = False
    np.testing.assert_array_equal(
        explain_func(network, turned, batch[1], **FEW), explain_func(network, turned.astype("f4"), batch[1], **FEW)
    )


def test_a_model_in_half_precision_gives_single(batch):
    assert explain_func(Plain().eval().bfloat16(), *batch, **FEW).dtype == np.float32


@pytest.mark.parametrize("targets", [2, np.int64(2), np.array(2), np.array([2]), np.array([[2], [2], [2]]), [2, 2, 2]])
def test_targets_may_be_numbers_arrays_or_lists(network, batch, targets):
    found = explain_func(network, batch[0], targets, **FEW)
    np.testing.assert_array_equal(found, explain_func(network, batch[0], np.array([2, 2, 2]), **FEW))


def test_no_targets_are_the_predictions(network, batch):
    predicted = network(torch.from_numpy(batch[0])).argmax(1).numpy()
    found = explain_func(network, batch[0], None, **FEW)
    np.testing.assert_array_equal(found, explain_func(network, batch[0], predicted, **FEW))


@pytest.mark.parametrize(
    ("inputs", "targets", "said"),
    [
        (np.zeros((2, 3, 8, 8), dtype=np.uint8), 1, "floating point, not uint8"),
        (np.zeros((3, 8, 8)), 1, r"images\[None\]"),
        (np.array(0.5), 1, "tensor"),
        ([[0.5]], 1, "list"),
        (np.full((1, 3, 8, 8), np.nan), 1, "NaN"),
        (np.ones((2, 3, 8, 8)), np.eye(4)[:2], "8 targets for 2 images"),
        (np.ones((1, 3, 8, 8)), np.array([1, 2]), "2 targets for 1 images"),
        (np.ones((2, 3, 8, 8)), np.array([1.0, 2.0]), "whole numbers"),
        (np.ones((2, 3, 8, 8)), np.array([1, 4]), "out of range"),
    ],
)
def test_what_cannot_be_used_is_refused(network, inputs, targets, said):
    with pytest.raises(InputError, match=said):
        explain_func(network, inputs, targets, **FEW)


def test_an_option_of_quantus_own_explain_is_refused(network, batch):
    with pytest.raises(OptionError, match="softmax"):
        explain_func(network, *batch, softmax=True)
    with pytest.raises(OptionError, match="images"):
        explain_func(network, *batch, images=batch[0])
    with pytest.raises(ModelError, match="Module"):
        explain_func("network", *batch)


def test_a_device_must_be_the_model_s(network, batch):
    explain_func(network, *batch, device="cpu", **FEW)
    explain_func(network, *batch, device=torch.device("cpu"), **FEW)
    with pytest.raises(InputError, match="device is cuda, and the model is on cpu"):
        explain_func(network, *batch, device="cuda", **FEW)


def test_model_and_inputs_are_left_as_found(batch):
    network = branching().train()
    before, inputs = outside(network), batch[0].copy()
    explain_func(network, *batch, **FEW)
    assert outside(network) == before
    np.testing.assert_array_equal(inputs, batch[0])


# Quantus' metrics.


def scores(metric, network, batch, **arguments):
    x, y = batch
    return metric(
        model=network,
        x_batch=x,
        y_batch=y,
        a_batch=None,
        explain_func=explain_func,
        explain_func_kwargs=FEW,
        device="cpu",
        **arguments,
    )


FINITE = {
    "pixel flipping": lambda: quantus.PixelFlipping(features_in_step=32, perturb_baseline="black", **SETTINGS),
    "faithfulness correlation": lambda: quantus.FaithfulnessCorrelation(
        nr_runs=5, subset_size=32, perturb_baseline="black", return_aggregate=False, **SETTINGS
    ),
    "sparseness": lambda: quantus.Sparseness(**SETTINGS),
    "complexity": lambda: quantus.Complexity(**SETTINGS),
    "max sensitivity": lambda: quantus.MaxSensitivity(nr_samples=2, lower_bound=0.2, **SETTINGS),
    "random logit": lambda: quantus.RandomLogit(num_classes=4, **SETTINGS),
}


@pytest.mark.parametrize("name", FINITE)
def test_a_metric_takes_it(name, network, batch):
    found = scores(FINITE[name](), network, batch)
    assert len(found) == 3
    assert np.isfinite(np.asarray(found, dtype=np.float64)).all()


def test_pixel_flipping_flips_the_map_s_brightest_pixels_first(network, batch):
    """The curve of the first image, by hand: 32 pixels more become black after each third step.

    Quantus repeats the map for each channel, so the channels of a pixel follow each other in its order, and 32 values
    are about 11 pixels.
    """
    heat = explain_func(network, *batch, **FEW)[0].ravel()
    metric = quantus.PixelFlipping(features_in_step=32, perturb_baseline="black", **SETTINGS)
    curve = scores(metric, network, batch)[0]
    assert len(np.unique(heat)) == 256
    image, order, by_hand = batch[0][0].reshape(3, 256).copy(), np.argsort(-heat), []
    for step in range(0, 256, 32):
        image[:, order[step : step + 32]] = batch[0][0].min()
        with torch.no_grad():
            probabilities = network(torch.from_numpy(image.reshape(1, 3, 16, 16))).softmax(1)
        by_hand.append(float(probabilities[0, batch[1][0]]))
    np.testing.assert_allclose(np.asarray(curve[2::3], dtype=np.float64), by_hand, atol=1e-5)


def test_the_map_follows_the_weights_in_quantus_randomisation_test(batch):
    metric = quantus.MPRT(seed=1, return_average_correlation=True, **SETTINGS)
    network = branching().float()
    found = scores(metric, network, batch)
    assert np.isfinite(np.asarray(found, dtype=np.float64)).all()


def test_the_pointing_game_takes_it(network, batch):
    masks = np.zeros((3, 1, 16, 16), dtype=bool)
    masks[:, :, 2:14, 2:14] = True
    found = scores(quantus.PointingGame(**SETTINGS), network, batch, s_batch=masks)
    brightest = explain_func(network, *batch, **FEW)[:, 0].reshape(3, -1).argmax(1)
    assert [bool(one) for one in np.ravel(found)] == [bool(m.ravel()[i]) for m, i in zip(masks, brightest, strict=True)]


def test_quantus_evaluate_compares_our_methods_by_their_names(network, batch):
    found = quantus.evaluate(
        metrics={"Sparseness": quantus.Sparseness(**SETTINGS)},
        xai_methods={"gradient": explain_func, "global_feedback": explain_func},
        model=network,
        x_batch=batch[0],
        y_batch=batch[1],
        explain_func_kwargs={},
        agg_func=np.mean,
    )
    for method in ("gradient", "global_feedback"):
        heat = explain_func(network, *batch, method=method)
        alone = quantus.Sparseness(**SETTINGS)(network, *batch, a_batch=heat)
        assert found[method]["Sparseness"] == pytest.approx(np.mean(alone))
