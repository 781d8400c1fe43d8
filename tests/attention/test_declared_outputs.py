"""Networks whose class scores the user names, of every kind, and several classes of one image."""

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attending import OURS, assert_same, few_steps
from looktwice.attention.api import attend
from looktwice.attention.look import look_at
from looktwice.errors import InputError, LooktwiceWarning, ModelError
from looktwice.gating.outputs import NetworkOutput

torch.manual_seed(5)
IMAGES = torch.randn(3, 3, 24, 24)


class Net(nn.Module):
    """Two heads on one body; ``end`` packs (scores of three classes, scores of five classes)."""

    def __init__(self, end: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)
        self.three, self.five = nn.Linear(8, 3), nn.Linear(8, 5)
        self.end = end

    def forward(self, images: Tensor) -> Any:
        h = F.relu(self.second(F.relu(self.first(images)))).mean((2, 3))
        return self.end(self.three(h), self.five(h))


FIVE = Net(lambda three, five: five)
THREE = Net(lambda three, five: three)


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize(
    ("end", "place"),
    [
        (lambda three, five: {"logits": three, "mine": five}, "mine"),
        (lambda three, five: {"heads": {"a": three, "b": five}}, "heads.b"),
        (lambda three, five: (three, five), 1),
    ],
    ids=["dict", "nested", "tuple"],
)
def test_a_declared_entry_has_the_maps_of_a_network_that_returns_it_alone(method, end, place):
    options = few_steps(method)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LooktwiceWarning)
        ours = attend(Net(end), IMAGES, 2, method=method, output=NetworkOutput(scores=place), **options)
    assert_same(ours, attend(FIVE, IMAGES, 2, method=method, **options))


def test_heads_of_one_network_are_not_mixed_up():
    """What is remembered of a network holds for the head that was looked at."""
    network = Net(lambda three, five: {"three": three / three.std(0), "five": five})
    for _ in range(2):
        assert_same(attend(network, IMAGES, 4, output=NetworkOutput(scores="five")), attend(FIVE, IMAGES, 4))
        with pytest.raises(ModelError, match="depends"):
            attend(network, IMAGES, 1, output=NetworkOutput(scores="three"))


def test_without_a_declaration_the_first_of_a_tuple_is_taken_and_that_is_told():
    network = Net(lambda three, five: (three, five))
    with pytest.warns(LooktwiceWarning, match=r"0 \(N, 3\), 1 \(N, 5\)\); the first is taken.*\(scores=1\)"):
        found = attend(network, IMAGES, 1, method="gradient")
    assert_same(found, attend(THREE, IMAGES, 1, method="gradient"))


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize("squeeze", [lambda s: s.squeeze(1), torch.squeeze], ids=["(N,)", "() for one image"])
def test_a_squeezed_score_has_the_maps_of_the_score(method, squeeze):
    network, plain = Net(lambda three, five: squeeze(five[:, :1])), Net(lambda three, five: five[:, :1])
    for images in (IMAGES, IMAGES[:1]):
        ours, theirs = (attend(each, images, 0, method=method, **few_steps(method)) for each in (network, plain))
        assert_same(ours, theirs, 1e-6)


@pytest.mark.parametrize("method", OURS)
def test_a_binary_logit_is_two_classes_with_opposite_scores(method):
    """As a network that returns both scores itself."""
    one, two = Net(lambda three, five: five[:, 0]), Net(lambda three, five: torch.stack([-five[:, 0], five[:, 0]], 1))
    for target in (0, 1, None):
        ours = attend(one, IMAGES, target, method=method, output=NetworkOutput("binary_logit"), **few_steps(method))
        assert_same(ours, attend(two, IMAGES, target, method=method, **few_steps(method)), 1e-6)


@pytest.mark.parametrize("end", [lambda t, f: f[:, 0], lambda t, f: f[:, :1]], ids=["(N,)", "(N, 1)"])
def test_a_binary_probability_is_two_classes_that_add_up_to_one(end):
    network = Net(lambda three, five: end(three, 3 * five).sigmoid())
    with look_at(network, IMAGES, propagate=False, output=NetworkOutput("binary_probability")) as look:
        p = network(IMAGES).flatten()
        assert torch.allclose(look.scores, torch.stack([1 - p, p], 1))
        assert torch.allclose(look.probabilities().sum(1), torch.ones(3, dtype=torch.double))
    found = attend(network, IMAGES, output=NetworkOutput("binary_probability"), method="gradient")
    assert found.targets.tolist() == (p > 0.5).long().tolist()


def test_declared_multilabel_logits_have_a_probability_each():
    with look_at(FIVE, IMAGES, propagate=False, output=NetworkOutput("multilabel_logits")) as look:
        assert torch.allclose(look.probabilities(), 1 / (1 + (-FIVE(IMAGES).double()).exp()))
        assert look.output == "multilabel_logits"


def test_scores_that_are_not_of_the_declared_kind_are_refused():
    with pytest.raises(ModelError, match=r"probabilities are in 0 … 1"):
        attend(FIVE, 100 * IMAGES, 1, output=NetworkOutput("probabilities"))
    with pytest.raises(ModelError, match="returned 5 scores for an image, and binary_logit is one"):
        attend(FIVE, IMAGES, 1, output=NetworkOutput("binary_logit"))


# ---- several classes of one image ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize("form", [list, tuple, torch.tensor, lambda k: torch.tensor([k])], ids=lambda f: f.__name__)
def test_several_classes_of_one_image_are_as_each_by_itself(method, form):
    ours = attend(FIVE, IMAGES[:1], form([3, 0, 3]), method=method, **few_steps(method))
    assert ours.targets.tolist() == [3, 0, 3]
    for place, target in enumerate([3, 0, 3]):
        alone = attend(FIVE, IMAGES[:1], target, method=method, **few_steps(method))
        assert torch.equal(ours.maps[place], alone.maps[0])
        assert torch.equal(ours.scores[place], alone.scores[0])
        assert all(torch.equal(mine[place], its[0]) for mine, its in zip(ours.gates, alone.gates, strict=True))


def test_several_classes_of_one_image_share_the_plain_pass():
    passes = []
    network = Net(lambda three, five: five)
    attend(network, IMAGES[:1], [0], method="gradient")  # its geometry is measured now
    for targets in ([0], [0, 1, 2]):
        network.end = lambda three, five: (passes.append(len(five)), five)[1]
        passes.clear()
        attend(network, IMAGES[:1], 0, method="gradient")
        passes.clear()
        attend(network, IMAGES[:1], targets, method="gradient")
        assert len(passes) == 1 + len(targets)


def test_a_note_on_one_of_several_classes_names_it():
    """The second class has a score that no image changes."""
    network = Net(lambda three, five: five)
    with torch.no_grad():
        network.five.weight[1] = 0
    with pytest.warns(LooktwiceWarning, match="^target 1: the map is zero everywhere"):
        attend(network, IMAGES[:1], [0, 1], method="gradient")


@pytest.mark.parametrize(
    ("targets", "message"),
    [([0, 5], "target 5 is out of range"), ([], "0 targets for 1 images"), ([0, 0.5], "whole numbers")],
)
def test_several_classes_that_cannot_be_used_are_refused(targets, message):
    with pytest.raises(InputError, match=message):
        attend(FIVE, IMAGES[:1], targets, method="gradient")
