"""Two methods of one's own: another way to find the gates, and a function that gives a map.

``--method examples/own_method.py:SIGN`` and ``--method examples/own_method.py:OCCLUSION`` name them.
"""

# --8<-- [start:sign]
from dataclasses import replace

import torch

from looktwice import METHODS
from looktwice.attention import Label, Method
from looktwice.attention.methods import FINISH_OPTIONS, MAP_OPTIONS
from looktwice.feedback.ascent import ascend, open_gates, probes_for
from looktwice.gating.calls import select_layers


def sign_feedback(network, calls, images, targets, watched=(), *, steps, step_size, layers, saturation):
    """Gates that move by the sign of their gradient."""
    gates = open_gates(calls, select_layers(calls, layers), images)

    def step(gates, gradients):
        return {index: z + step_size * gradients[index].sign() for index, z in gates.items()}

    return ascend(
        network,
        images,
        targets,
        gates,
        step,
        steps=steps,
        probes=probes_for(calls, set(watched) - set(gates), images),
        saturation=saturation,
        calls=calls,
    )


SIGN = replace(
    METHODS["feedback"],
    label=Label("Sign feedback", "Sign", "#a0486b"),
    summary="gates move by the sign of their gradient",
    source="mine",
    options={name: METHODS["feedback"].options[name] for name in ("steps", "step_size", "layers", *MAP_OPTIONS)},
    optimise=sign_feedback,
)
# --8<-- [end:sign]


# --8<-- [start:occlusion]
def occlusion(network, images, targets, *, patch):
    """How far the class score falls where a square is covered: (N, H, W)."""

    def score(pictures):
        return network(pictures).gather(1, targets[:, None])[:, 0]

    height, width = images.shape[-2:]
    heat = images.new_zeros((len(images), height, width))
    with torch.no_grad():
        whole = score(images)
        for top in range(0, height, patch):
            for left in range(0, width, patch):
                covered = images.clone()
                covered[:, :, top : top + patch, left : left + patch] = 0  # the mean colour of the training images
                fall = (whole - score(covered)).clamp(min=0)
                heat[:, top : top + patch, left : left + patch] = fall[:, None, None]
    return heat


OCCLUSION = Method(
    label=Label("Occlusion", "Occlusion", "#5a6b1f"),
    summary="fall of the class score under a grey square",
    source="Zeiler and Fergus 2014",
    options={"patch": 32, **FINISH_OPTIONS},
    attribute=occlusion,
)
# --8<-- [end:occlusion]
