"""Names of classes where a network brings none."""

import subprocess
import sys

import torchvision
from torchvision.models import ResNet50_Weights

from looktwice.evaluation.facts import versions
from looktwice.models.class_names import default_classes, imagenet_classes

WITHOUT_TORCHVISION = """
import sys, torch, looktwice, looktwice.evaluation.evaluate, looktwice.labelling.label
from looktwice.evaluation.facts import versions
model = looktwice.load_model(weights="random")
looktwice.attend(model.module, torch.zeros(1, 3, 32, 32), 7, method="gradient")
versions()
print([name for name in ("torchvision", "torch._dynamo") if name in sys.modules])
"""


def test_names_of_imagenet_are_those_of_torchvision():
    assert imagenet_classes() == tuple(ResNet50_Weights.DEFAULT.meta["categories"])


def test_a_thousand_classes_have_the_names_of_imagenet_and_others_are_numbered():
    assert default_classes(1000) == imagenet_classes()
    assert default_classes(2) == ("class 0", "class 1")


def test_default_network_needs_no_import_of_torchvision():
    found = subprocess.run([sys.executable, "-c", WITHOUT_TORCHVISION], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_version_of_torchvision_is_its_own():
    assert versions()["torchvision"] == torchvision.__version__
