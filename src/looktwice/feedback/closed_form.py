"""Local feedback in closed form (Cao et al. 2015)."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from looktwice.feedback.ascent import Feedback, ascend
from looktwice.feedback.global_feedback import check_ascent_options
from looktwice.feedback.open_gates import open_gates, probes_for
from looktwice.gating.activations import Saturation
from looktwice.gating.calls import ActivationCall, Layers, Network, select_layers


def closed_form_feedback(
    network: Network,
    calls: Sequence[ActivationCall],
    images: Tensor,
    targets: Tensor,
    watched: Sequence[int] = (),
    *,
    steps: int = 10,
    layers: Layers = None,
    saturation: Saturation = "exact",
) -> Feedback:
    """Local feedback as its authors coded it: z = 1[x ⊙ ∂S_k/∂y > 0], repeated (Cao et al. 2015).

    Cao et al. pose a linear programme in z for each layer (their Eq. 5). Its optimum is a corner, reached in one step.
    Arguments and errors are those of ``feedback``.
    """
    check_ascent_options(steps, 1.0, "none", "score")
    gates = open_gates(calls, select_layers(calls, layers), images)

    def step(gates: Mapping[int, Tensor], dS_dz: Mapping[int, Tensor]) -> Mapping[int, Tensor]:
        return {index: (dS_dz[index] > 0).to(z.dtype) for index, z in gates.items()}

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
