"""The table of methods: a row for each, with its options and their defaults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any

from looktwice.attention.maps import own_attention, peer_attention
from looktwice.attention.peers import (
    Peer,
    grad_cam,
    grad_cam_plus_plus,
    guided_grad_cam,
    integrated_gradients,
    layer_cam,
)
from looktwice.feedback.ascent import Feedback
from looktwice.feedback.closed_form import closed_form_feedback
from looktwice.feedback.global_feedback import feedback
from looktwice.gating.calls import Guidance
from looktwice.options import check_known


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    One of ours has ``guided`` (its last pass) and perhaps ``optimise`` (how its gates are found); a ``peer`` is another
    package's, and has neither.
    """

    summary: str
    source: str
    guided: Guidance = "none"
    optimise: Callable[..., Feedback] | None = None
    defaults: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    peer: Peer | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The keyword options that ``attend`` takes for this method, with their defaults."""
        steps: list[Callable[..., Any] | None] = [self.optimise, own_attention]
        if self.peer is not None:
            steps = [self.peer, peer_attention]
        parameters = [p for step in steps if step is not None for p in signature(step).parameters.values()]
        own = {p.name: p.default for p in parameters if p.kind is Parameter.KEYWORD_ONLY}
        fixed = dict(self.defaults) if self.peer is not None else {"guided": self.guided} | dict(self.defaults)
        return {
            name: fixed.get(name, default)
            for name, default in own.items()
            if default is not Parameter.empty or name in fixed
        }


def _row(
    summary: str,
    source: str,
    optimise: Callable[..., Feedback] | None = None,
    /,
    *,
    guided: Guidance = "all",
    **defaults: Any,
) -> Method:
    return Method(summary, source, guided, optimise, MappingProxyType(defaults))


def _peer(summary: str, source: str, peer: Peer, /, **defaults: Any) -> Method:
    return Method(summary, source, defaults=MappingProxyType(defaults), peer=peer)


_MAP: Mapping[str, Any] = {"values": "cumulative", "blur": 0.02}
"""How a map is finished, the same for every method of ours, so that they differ in what they see alone."""


_FEEDBACK: Mapping[str, Any] = {
    "guided": "below",
    "layers": "coarse",
    "saturation": "pass",
    "steps": 5,
    "step_size": 0.2,
    "source": "evidence",
    **_MAP,
}
"""What makes feedback sound on any network; see docs/method.md."""


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "gradient": _row("class gradient at the image (GT)", "Simonyan et al. 2013", guided="none", **_MAP),
        "guided_backprop": _row("gradient without negative parts at any ReLU (GB)", "Springenberg et al. 2014", **_MAP),
        "feedback": _row(
            "gates optimised for the class score alone (FB)",
            "Cao et al. 2015",
            feedback,
            trace_weight=0.0,
            **_FEEDBACK,
        ),
        "feedback_closed_form": _row(
            "gates set to 1[x ∂S/∂y > 0], repeated, on every layer", "Cao et al. 2015", closed_form_feedback
        ),
        "global_feedback": _row(
            "gates optimised for the class score less their trace norm (GP)",
            "Fu et al. 2017",
            feedback,
            trace_weight=1.0,
            smoothing=0.04,
            minor="suppress",
            rank=1,
            scales="all",
            propagate=True,
            **_FEEDBACK,
        ),
        "global_feedback_paper": _row(
            "GP with the printed update: one step size and λ for all layers, raw gradients",
            "Fu et al. 2017, Eqs. 9-12",
            feedback,
            trace_weight=0.01,
            step_size=0.1,
            smoothing=1.0,
            minor="suppress",
            gradient_scale="none",
        ),
        "grad_cam": _peer("Grad-CAM of the last feature maps", "Selvaraju et al. 2017", grad_cam),
        "grad_cam_plus_plus": _peer("Grad-CAM++", "Chattopadhyay et al. 2018", grad_cam_plus_plus),
        "layer_cam": _peer("LayerCAM of the last feature maps", "Jiang et al. 2021", layer_cam),
        "integrated_gradients": _peer(
            "integrated gradients from the mean colour",
            "Sundararajan et al. 2017",
            integrated_gradients,
            blur=0.045,
        ),
        "guided_grad_cam": _peer("Guided Grad-CAM", "Selvaraju et al. 2017", guided_grad_cam, blur=0.045),
    }
)


def method_row(method: str | Method) -> Method:
    """A row of the table of methods, by name or as it is."""
    if isinstance(method, Method):
        return method
    check_known("method", method, METHODS)
    return METHODS[method]


def resolve_options(method: str | Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """A method's options, those left out as their defaults.

    Raises:
        OptionError: an unknown method or option.
    """
    defaults = method_row(method).options
    for name in options:
        check_known(f"option for {method if isinstance(method, str) else method.summary}", name, defaults)
    return defaults | dict(options)
