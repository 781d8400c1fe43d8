"""Attention of small networks, for tests."""

from typing import Any

import torch
from torch import Tensor, nn

from looktwice.attention.api import attend
from looktwice.attention.maps import Attention
from looktwice.attention.methods import METHODS

TARGETS = [4, 0, 2]


OURS = [name for name, row in METHODS.items() if row.attribute is None]  # the others are tested in test_peers.py

ROLLOUTS = ["attention_rollout", "attention_relevance"]  # these need a transformer: test_rollout.py


def few_steps(method: str) -> dict[str, Any]:
    return {"steps": 2} if "steps" in METHODS[method].options else {}


def look(network: nn.Module, images: Tensor, targets: Any, method: str, **options: Any) -> Attention:
    return attend(network, images, targets, method=method, **(few_steps(method) | options))


def assert_same(ours: Attention, theirs: Attention, tolerance: float = 0.0) -> None:
    for mine, other in (
        (ours.maps, theirs.maps),
        (ours.gradients, theirs.gradients),
        (ours.scores, theirs.scores),
        *zip(ours.gates, theirs.gates, strict=True),
    ):
        assert mine.shape == other.shape
        assert not mine.numel() or (mine - other).abs().max() <= tolerance * other.abs().max()
    assert torch.equal(ours.targets, theirs.targets)
    assert (ours.layers, ours.closed) == (theirs.layers, theirs.closed)
