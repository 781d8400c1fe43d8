"""Networks with every kind of output at the command line: what they return is recognised, declared or refused."""

import json

import pytest
import torch

from looktwice.images import read_image
from looktwice.models import load_model

NETWORKS = """
import torch
import torch.nn.functional as F
from torch import nn
from looktwice.models import IMAGENET, Model, NetworkOutput

class Net(nn.Module):
    def __init__(self, end, classes=4):
        super().__init__()
        torch.manual_seed(2)
        self.body, self.head = nn.Sequential(nn.Conv2d(3, 8, 9, 16), nn.ReLU()), nn.Linear(8, classes)
        with torch.no_grad():
            self.head.weight *= 5
            self.head.bias.copy_(torch.linspace(-0.5, 0.5, classes) if classes > 1 else torch.tensor([-1.5]))
        self.end = end

    def forward(self, x):
        return self.end(self.head(self.body(x).mean((2, 3))))

def logits():
    return Net(lambda h: h)

def hard_sigmoids():
    return Net(F.hardsigmoid)

def written_out():
    return Net(lambda h: 1 / (1 + torch.exp(-h)))

def heads():
    return Net(lambda h: {"heads": {"colour": h, "shape": h[:, :2]}})

def tuples():
    return Net(lambda h: (h[:, :2], h))

def one():
    return Net(lambda h: h.squeeze(), 1)

def one_written_out():
    return Model("one", Net(lambda h: 1 / (1 + torch.exp(-h)), 1), IMAGENET, classes=("no", "yes"))

def no_or_yes():
    return Model("no_or_yes", one(), IMAGENET, classes=("no", "yes"))

def no_or_yes_sigmoid():
    return Model("no_or_yes", Net(lambda h: torch.sigmoid(h).squeeze(1), 1), IMAGENET, classes=("no", "yes"))

def declared():
    return Model("declared", heads(), IMAGENET, output=NetworkOutput("multilabel_logits", scores="heads.colour"))
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "kinds.py").write_text(NETWORKS)
    return lambda name: f"{tmp_path}/kinds.py:{name}"


@pytest.fixture
def attend(looktwice, net, photo, tmp_path):
    """The command's end, and its records in the order of its lines."""

    def call(name, *choice):
        folder = tmp_path / "out"
        arguments = ("--model", net(name), "--method", "gradient", "--output", folder)
        ran = looktwice("attend", photo, *arguments, *choice)
        return ran, [json.loads((folder / line).read_text()) for line in ran.out if line.endswith("json")]

    return call


@pytest.fixture
def logits(net, photo):
    model = load_model(net("logits"), squash=True)
    with torch.no_grad():
        return model.module(model.prepare(read_image(photo))[0])[0].double()


def sigmoid(x):
    return 1 / (1 + (-x).exp())


def probabilities(records):
    return {record["target"]["index"]: record["probability"] for record in records}


# ---- several classes of an image -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logits", "declared"])
def test_all_classes_above_a_threshold(attend, logits, name):
    choice = () if name == "declared" else ("--output-kind", "multilabel_logits")
    least = float(sigmoid(logits).sort().values[1:3].mean())
    ran, records = attend(name, *choice, "--min-probability", least)
    assert (ran.code, ran.err) == (0, [])
    expected = {k: p for k, p in enumerate(sigmoid(logits).tolist()) if p >= least}
    assert probabilities(records) == pytest.approx(expected, abs=1e-6)
    assert len(records) == 2
    assert list(probabilities(records)) == sorted(expected, key=expected.get, reverse=True)
    for record in records:
        assert [each["index"] for each in record["targets"]] == list(probabilities(records))
    ran, records = attend(name, *choice, "--min-probability", least, "--top", 1)
    assert [record["target"]["index"] for record in records] == [int(logits.argmax())]


def test_no_class_above_the_threshold_is_told(attend, photo, logits):
    ran, records = attend("logits", "--min-probability", 1)
    assert (ran.code, records) == (0, [])
    best = int(logits.argmax())
    assert ran.err == [
        f"looktwice: {photo}: no class has a probability of 1 or more; the best is class {best} · "
        f"{logits.softmax(0)[best]:.1%}"
    ]


def test_several_targets(attend, logits):
    ran, records = attend("logits", "--target", "class 2", "--target", 0, "--target", 2, "--target", "auto")
    assert ran.code == 0
    expected = dict.fromkeys([2, 0, int(logits.argmax())])
    assert [record["target"]["index"] for record in records] == list(expected)
    assert len({line.split()[-1] for line in ran.out}) == 2 * len(expected)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (("--top", 2, "--target", 1), "--top takes the most probable classes, --target names some"),
        (("--min-probability", 0.5, "--target", 1), "--min-probability takes the most probable classes"),
        (("--min-probability", 1.5), "--min-probability"),
        (("--min-probability", "nan"), "--min-probability"),
        (("--target", "nothing"), "no class is named 'nothing'"),
        (("--target", 1, "--target", 9), "class 9 is out of range"),
    ],
)
def test_choices_of_classes_that_cannot_be_had(attend, choice, said):
    ran, records = attend("logits", *choice)
    assert ran.code in (1, 2)
    assert said in ran.err[-1]
    assert records == []


# ---- kinds -----------------------------------------------------------------------------------------------------------


def test_hard_sigmoids_are_probabilities(attend, logits):
    _, records = attend("hard_sigmoids", "--top", 4)
    expected = ((logits + 3) / 6).clamp(0, 1)
    assert probabilities(records) == pytest.approx(dict(enumerate(expected.tolist())), abs=1e-6)


def test_written_out_sigmoids_are_told_of_until_they_are_declared(attend, logits):
    ran, (record,) = attend("written_out")
    assert record["output"] == "logits"
    assert len(ran.err) == len(record["notes"]) == 1
    assert "all scores lie between 0 and 1, and they count as logits" in ran.err[0]
    ran, records = attend("written_out", "--output-kind", "sigmoids", "--top", 4)
    assert ran.err == []
    assert probabilities(records) == pytest.approx(dict(enumerate(sigmoid(logits).tolist())), abs=1e-6)


def test_a_comparison_tells_of_doubtful_scores_once(looktwice, net, photo, tmp_path):
    choice = ("--methods", "gradient,guided_backprop", "--output", tmp_path / "out")
    ran = looktwice("compare", photo, "--model", net("written_out"), *choice)
    assert [line.startswith("looktwice: all scores lie between 0 and 1") for line in ran.err] == [True]
    ran = looktwice("compare", photo, "--model", net("written_out"), *choice, "--output-kind", "sigmoids")
    assert (ran.code, ran.err) == (0, [])


def test_an_evaluation_tells_of_doubtful_scores_in_one_line(looktwice, net, photo, tmp_path):
    (tmp_path / "boxes.csv").write_text(f"image,label,x1,y1,x2,y2\n{photo.name},1,0,0,20,20\n")
    arguments = (tmp_path / "boxes.csv", "--layout", "csv", "--methods", "gradient", "--workers", 0)
    ran = looktwice("evaluate", *arguments, "--model", net("written_out"), "--output", tmp_path / "run")
    assert ran.code == 0
    assert ["all scores lie between 0 and 1" in line for line in ran.err].count(True) == 1
    choice = ("--output-kind", "sigmoids", "--output", tmp_path / "declared")
    ran = looktwice("evaluate", *arguments, "--model", net("written_out"), *choice)
    assert ran.code == 0
    assert not any("all scores" in line for line in ran.err)


# ---- one score -------------------------------------------------------------------------------------------------------


def test_a_single_score_is_one_class(attend):
    _, (record,) = attend("one")
    assert record["target"] == {"index": 0, "name": "class 0"}
    assert record["output"] == "logit"
    assert record["probability"] == pytest.approx(float(sigmoid(torch.tensor(record["scores"][0]))), abs=1e-6)


@pytest.mark.parametrize("name", ["no_or_yes", "no_or_yes_sigmoid"])
def test_a_single_score_with_two_names_is_two_classes(attend, name):
    _, (alone,) = attend("one")
    yes = alone["probability"]
    ran, records = attend(name, "--top", 2)
    assert probabilities(records) == pytest.approx({0: 1 - yes, 1: yes}, abs=1e-6)
    assert [record["target"]["name"] for record in records] == (["yes", "no"] if yes > 0.5 else ["no", "yes"])
    assert {record["output"] for record in records} == {"binary_logit" if name == "no_or_yes" else "binary_probability"}
    by_name = {record["target"]["name"]: record["scores"][0] for record in records}
    assert by_name["no"] == pytest.approx(-by_name["yes"] if name == "no_or_yes" else 1 - by_name["yes"], abs=1e-6)
    assert ran.err == []


def test_a_single_score_may_be_declared_to_be_two_classes(attend):
    _, (alone,) = attend("one")
    _, records = attend("one", "--output-kind", "binary_logit", "--top", 2)
    assert probabilities(records)[1] == pytest.approx(alone["probability"], abs=1e-6)
    assert sum(probabilities(records).values()) == pytest.approx(1)


def test_a_single_score_of_no_certain_kind_with_two_names_is_refused(attend):
    ran, _ = attend("one_written_out")
    assert (ran.code, len(ran.err)) == (1, 1)
    assert "which has 1 output, and it is not certain what that is; declare it" in ran.err[0]
    ran, records = attend("one_written_out", "--output-kind", "binary_probability", "--top", 2)
    assert ran.err == []
    assert sum(probabilities(records).values()) == pytest.approx(1)


# ---- entries ---------------------------------------------------------------------------------------------------------


def test_an_entry_by_its_name(attend, logits):
    ran, _ = attend("heads")
    assert (ran.code, len(ran.err)) == (1, 1)
    assert "heads.colour (1, 4), heads.shape (1, 2)" in ran.err[0]
    ran, records = attend("heads", "--scores", "heads.colour", "--top", 4)
    assert ran.err == []
    assert probabilities(records) == pytest.approx(dict(enumerate(logits.softmax(0).tolist())), abs=1e-6)


def test_an_entry_of_a_tuple_by_its_number(attend):
    ran, (record,) = attend("tuples")
    assert ["the first is taken; if another is meant, name it" in line for line in ran.err] == [True]
    assert record["notes"] == [ran.err[0].removeprefix("looktwice: ")]
    ran, records = attend("tuples", "--scores", 1, "--top", 4)
    assert (len(records), ran.err) == (4, [])
    ran, records = attend("tuples", "--scores", 0, "--top", 2)
    assert (len(records), ran.err) == (2, [])


@pytest.mark.parametrize(
    ("name", "choice", "said"),
    [
        (
            "heads",
            ("--scores", "heads.color"),
            "no entry 'heads.color'; it has heads.colour (1, 4), heads.",
        ),
        ("heads", ("--scores", "heads"), "the entry 'heads' of the network's output is dict"),
        ("logits", ("--scores", "logits"), "it is a single tensor (1, 4), so name no entry"),
        ("logits", ("--scores", ""), "the name of an entry or its number from 0 is needed"),
        ("logits", ("--output-kind", "softmax"), "one of logits, multilabel_logits"),
        ("logits", ("--output-kind", "sigmoids"), "sigmoids are in 0 … 1"),
        ("logits", ("--output-kind", "binary_logit"), "returned 4 scores for an image, and binary_logit is one"),
    ],
)
@pytest.mark.parametrize("command", ["attend", "compare"])
def test_declarations_that_do_not_fit_are_one_line(looktwice, net, photo, tmp_path, command, name, choice, said):
    ran = looktwice(command, photo, "--model", net(name), "--output", tmp_path / "out", *choice)
    assert (ran.code, len(ran.err)) == (1, 1)
    assert said in ran.err[0]


def test_the_page_takes_the_same_declarations(looktwice, net):
    ran = looktwice("serve", "--port", 0, "--model", net("heads"), "--scores", "heads.color")
    assert (ran.code, len(ran.err)) == (1, 1)
    assert "no entry 'heads.color'" in ran.err[0]
