"""What a network's scores are, by the functions that made them or by their values, or as the user declares."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from looktwice.errors import ModelError, OptionError
from looktwice.gating.outputs import NetworkOutput, OutputMode, as_probabilities

H = torch.tensor([[2.0, -1.0, 0.5], [0.3, 0.1, -4.0]])


@pytest.mark.parametrize(
    ("scores", "kind"),
    [
        ([[0.25, 0.75], [1.0, 0.0]], "probabilities"),
        ([[0.3334, 0.3334, 0.3334]], "probabilities"),  # as half precision has them
        ([[1.5, -0.5], [0.25, 0.75]], "logits"),  # each row sums to 1, but one score is negative
        ([[0.25, 0.75], [2.0, 3.0]], "logits"),  # none is negative, but one row does not sum to 1
        ([[0.25], [1.0]], "logit"),
    ],
)
def test_scores_that_no_known_function_made(scores, kind):
    assert OutputMode().kind_of(torch.tensor(scores)) == kind


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (F.hardsigmoid, ((H + 3) / 6).clamp(0, 1)),
        (nn.Hardsigmoid(), ((H + 3) / 6).clamp(0, 1)),
        (lambda h: F.hardsigmoid(h).clamp(0.01, 0.99), ((H + 3) / 6).clamp(0.01, 0.99)),
        (lambda h: F.logsigmoid(h).exp(), 1 / (1 + (-H).exp())),
        (lambda h: torch.log(h.sigmoid()), 1 / (1 + (-H).exp())),
        (lambda h: torch.log(h.softmax(1)), H.exp() / H.exp().sum(1, keepdim=True)),
        (lambda h: F.log_softmax(h, 1).exp(), H.exp() / H.exp().sum(1, keepdim=True)),
        (lambda h: torch.special.log_softmax(h, 1), H.exp() / H.exp().sum(1, keepdim=True)),
        (lambda h: F.softmin(h, 1), (-H).exp() / (-H).exp().sum(1, keepdim=True)),
        (lambda h: h.exp() / h.exp().sum(1, keepdim=True), H.exp() / H.exp().sum(1, keepdim=True)),
        (lambda h: F.linear(h, torch.eye(3)), H.exp() / H.exp().sum(1, keepdim=True)),
    ],
    ids=["F.hardsigmoid", "nn.Hardsigmoid", "hardsigmoid clamped", "exp of log sigmoid", "log of sigmoid",
         "log of softmax", "exp of log softmax", "special", "softmin", "softmax written out", "linear"],
)  # fmt: skip
def test_probabilities_are_those_of_the_function_that_made_the_scores(end, expected):
    with OutputMode() as mode:
        scores = end(H.clone())
    assert torch.allclose(as_probabilities(scores, mode.kind_of(scores)), expected.double(), atol=1e-6)
    assert mode.doubts(scores) == ()


@pytest.mark.parametrize(
    "end",
    [
        lambda h: 1 / (1 + torch.exp(-h)),
        lambda h: h.exp() / (1 + h.exp()),
        lambda h: 0.5 * (torch.tanh(h / 2) + 1),
        lambda h: F.relu6(h + 3) / 6,
        lambda h: (h / 6 + 0.5).clamp(0, 1),
        lambda h: F.hardtanh(h / 6 + 0.5, 0.0, 1.0),
        lambda h: 1 / (1 + torch.exp(-h[:, :1])),
        lambda h: h.sigmoid() * h.sigmoid(),
    ],
    ids=["1/(1+exp)", "exp/(1+exp)", "tanh", "relu6", "clamp", "hardtanh", "a single one", "product of sigmoids"],
)
def test_a_sigmoid_that_is_written_out_is_told_of(end):
    with OutputMode() as mode:
        scores = end(F.linear(H, torch.eye(3)))
    assert [text.startswith("all scores lie between 0 and 1") for text in mode.doubts(scores)] == [True]
    assert "--output-kind sigmoids" in mode.doubts(scores)[0]


@pytest.mark.parametrize(
    "end",
    [
        lambda h: h,
        lambda h: F.linear(h, 0.1 * torch.eye(3), torch.full((3,), 0.5)),  # by chance
        lambda h: F.relu(F.conv2d(h[:, :, None, None], 0.1 * torch.eye(3)[:, :, None, None])).mean((2, 3)),
        lambda h: (h @ torch.eye(3) / 10 + 0.5)[:, :2],
        torch.zeros_like,
        lambda h: torch.full_like(h, float("nan")),
        lambda h: torch.full_like(h, 0.4),
    ],
    ids=["logits", "small logits", "convolution", "matrix product", "zeros", "nan", "one number"],
)
def test_logits_are_not_doubted(end):
    with OutputMode() as mode:
        scores = end(H.clone())
    assert mode.doubts(scores) == ()


# ---- declared --------------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("kind", "raw", "scores", "probabilities"),
    [
        ("logits", [0.0, math.log(3)], [0.0, math.log(3)], [0.25, 0.75]),
        ("multilabel_logits", [0.0, 2.0], [0.0, 2.0], [0.5, sigmoid(2)]),
        ("logit", [2.0], [2.0], [sigmoid(2)]),
        ("binary_logit", [2.0], [-2.0, 2.0], [1 - sigmoid(2), sigmoid(2)]),
        ("probabilities", [0.25, 0.75], [0.25, 0.75], [0.25, 0.75]),
        ("binary_probability", [0.2], [0.8, 0.2], [0.8, 0.2]),
        ("sigmoids", [0.9, 0.8], [0.9, 0.8], [0.9, 0.8]),
        ("log_probabilities", [math.log(0.25), math.log(0.75)], [math.log(0.25), math.log(0.75)], [0.25, 0.75]),
    ],
)
def test_a_declared_kind_says_how_scores_become_probabilities(kind, raw, scores, probabilities):
    output = NetworkOutput(kind)
    found = output.of_classes(torch.tensor([raw], dtype=torch.double))
    output.check(found)
    assert found[0].tolist() == pytest.approx(scores)
    assert as_probabilities(found, kind)[0].tolist() == pytest.approx(probabilities)


@pytest.mark.parametrize(
    ("kind", "scores", "needed"),
    [
        ("probabilities", [[0.5, 1.2]], r"the score 1\.2, and probabilities are in 0 … 1; declare another"),
        ("sigmoids", [[0.5, -3.0]], r"the score -3, and sigmoids are in 0 … 1"),
        ("binary_probability", [[-6.0, 7.0]], r"the score -6, and binary_probability are"),
        ("log_probabilities", [[-1.0, 0.5]], r"the score 0\.5, and log_probabilities are at most 0"),
    ],
)
def test_scores_that_cannot_be_of_the_declared_kind_are_refused(kind, scores, needed):
    with pytest.raises(ModelError, match=needed):
        NetworkOutput(kind).check(torch.tensor(scores))


@pytest.mark.parametrize("kind", ["probabilities", "sigmoids", "log_probabilities", "logits"])
def test_what_is_not_finite_is_left_to_whoever_shows_it(kind):
    NetworkOutput(kind).check(torch.full((2, 3), float("nan")))


@pytest.mark.parametrize("kind", ["logit", "binary_logit", "binary_probability"])
def test_a_kind_with_one_score_refuses_several(kind):
    with pytest.raises(ModelError, match=f"returned 3 scores for an image, and {kind} is one; for a score of each"):
        NetworkOutput(kind).of_classes(H)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "sigmoid"}, "the kind of output is 'sigmoid'; one of logits, multilabel_logits"),
        ({"scores": ""}, "scores is ''; the name of an entry or its number from 0"),
        ({"scores": -1}, "scores is -1"),
        ({"scores": True}, "scores is True"),
        ({"scores": 1.0}, r"scores is 1\.0"),
    ],
)
def test_what_cannot_be_declared_is_refused(given, message):
    with pytest.raises(OptionError, match=message):
        NetworkOutput(**given)


def test_what_is_declared_first_counts_and_the_rest_stays():
    own = NetworkOutput("sigmoids", scores="a")
    assert NetworkOutput().over(own) == own
    assert NetworkOutput(scores=0).over(own) == NetworkOutput("sigmoids", scores=0)
    assert NetworkOutput("logits").over(own) == NetworkOutput("logits", scores="a")
