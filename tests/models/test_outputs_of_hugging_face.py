"""What the configuration of a transformers network says of its scores."""

import pytest
import torch

from looktwice.attention.look import look_at
from looktwice.models import NetworkOutput, hugging_face_model, load_model

transformers = pytest.importorskip("transformers")


def small_resnet(count, **options):
    labels = {"id2label": {k: f"thing {k}" for k in range(count)}, "label2id": {f"thing {k}": k for k in range(count)}}
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], **labels, **options)
    torch.manual_seed(3)
    return transformers.ResNetForImageClassification(config).eval()


@pytest.mark.parametrize(
    ("problem", "kind"),
    [("multi_label_classification", "multilabel_logits"), ("single_label_classification", None), (None, None)],
)
def test_the_problem_type_says_whether_an_image_may_have_several_classes(problem, kind):
    module = small_resnet(3, problem_type=problem)
    model = hugging_face_model(module, transformers.ViTImageProcessor())
    assert model.output == NetworkOutput(kind)
    images = torch.rand(2, 3, 64, 64)
    logits = module(images).logits.double()
    expected = logits.softmax(1) if kind is None else 1 / (1 + (-logits).exp())
    with look_at(model.module, images, propagate=False, output=model.output) as look:
        assert torch.allclose(look.probabilities(), expected, atol=1e-6)


def test_a_single_score_of_a_folder_may_be_two_classes(tmp_path):
    small_resnet(1).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size=64).save_pretrained(tmp_path)
    assert load_model(f"hf:{tmp_path}").classes == ("thing 0",)
    model = load_model(f"hf:{tmp_path}", output=NetworkOutput("binary_logit"), classes=["no", "yes"])
    assert (model.classes, model.output.kind) == (("no", "yes"), "binary_logit")
