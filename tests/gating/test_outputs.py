"""What a network's scores are, by their values alone."""

import pytest
import torch

from looktwice.gating.outputs import OutputMode


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
