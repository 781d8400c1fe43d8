"""The table of methods: a row for each, with its options and their defaults.

A method of your own is such a row: see docs/howto/own-method.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from torch import Tensor

from looktwice.attention import peers, rollout
from looktwice.errors import ModelError
from looktwice.feedback.ascent import Feedback
from looktwice.feedback.closed_form import closed_form_feedback
from looktwice.feedback.global_feedback import feedback_from_options
from looktwice.gating.calls import ActivationCall
from looktwice.gating.frozen import FrozenNetwork
from looktwice.labels import LABELS, Label
from looktwice.options import check_known, check_options
from looktwice.user_code import load_object

Optimise = Callable[..., Feedback]
"""How gates are found: network, calls, images, targets and watched calls, then options → ``Feedback``."""

Attribute = Callable[..., Tensor]
"""Another way to a map: network, images (N, C, H, W), targets (N,), then options → a map (N, H, W), not negative, or a
signed attribution (N, C, H, W)."""


@dataclass(frozen=True)
class Method:
    """A row of the table of methods.

    Attributes:
        label: its title, short name and colour.
        summary: what it does, in a few words.
        source: whose it is.
        options: the options that ``attend`` takes for it, with their defaults: those of the map, and its own.
        optimise: how its gates are found; without it there are no gates.
        attribute: a function that makes the map or an attribution by itself; then nothing here is gated or guided.
        caution: a network and its activation calls → what a reader must know of this method's maps of it, in one line,
            or ``None``.
    """

    label: Label
    summary: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    optimise: Optimise | None = None
    attribute: Attribute | None = None
    caution: Callable[[FrozenNetwork, Sequence[ActivationCall]], str | None] | None = None

    @property
    def has_gates(self) -> bool:
        """Whether it optimises gates, step by step."""
        return self.optimise is not None


FINISH_OPTIONS: Mapping[str, Any] = MappingProxyType({"propagate": False, "values": "maximum", "blur": 0.0})
"""What every method's map goes through at last; see ``finishing``."""

MAP_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "guided": "all",
        "saturation": "exact",
        "source": "gradient",
        "scales": "coarsest",
        "channels": "max",
        "class_power": 0.0,
        **FINISH_OPTIONS,
        "blur": 0.045,
    }
)
"""How our own methods come from gates, gradients or evidence to a map; see ``maps.MapOptions``."""

ASCENT_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "trace_weight": 1.0,
        "smoothing": 1.0,
        "minor": "suppress",
        "minor_share": 0.1,
        "rank": None,
        "solver": "fast",
        "steps": 10,
        "step_size": 0.1,
        "gradient_scale": "mean",
        "fixed_scale": False,
        "objective": "score",
        "guided_gates": "none",
        "layers": None,
    }
)
"""Projected gradient ascent on gates; see ``feedback``."""

_SOUND_MAP: Mapping[str, Any] = {"values": "cumulative", "blur": 0.02}
"""How a map is finished: the same for all of our methods, so that they differ only in what they see."""

_SOUND_FEEDBACK: Mapping[str, Any] = {
    "guided": "below",
    "layers": "coarse",
    "saturation": "pass",
    "steps": 5,
    "step_size": 0.2,
    "source": "evidence",
    **_SOUND_MAP,
}
"""What makes feedback sound on any network; see docs/method.md."""


def _gradient(name: str, summary: str, source: str, /, **defaults: Any) -> Method:
    """A method without gates."""
    return Method(LABELS[name], summary, source, MappingProxyType({**MAP_OPTIONS, **defaults}))


def _ascent(name: str, summary: str, source: str, /, **defaults: Any) -> Method:
    """A method whose gates climb step by step."""
    options = MappingProxyType({**ASCENT_OPTIONS, **MAP_OPTIONS, **defaults})
    return Method(LABELS[name], summary, source, options, optimise=feedback_from_options)


def _peer(name: str, summary: str, source: str, attribute: Attribute, /, **defaults: Any) -> Method:
    """A method of other authors, which makes its map by itself."""
    return Method(LABELS[name], summary, source, MappingProxyType({**FINISH_OPTIONS, **defaults}), attribute=attribute)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "gradient": _gradient(
            "gradient", "class gradient at the image", "Simonyan et al. 2013", guided="none", **_SOUND_MAP
        ),
        "guided_backprop": _gradient(
            "guided_backprop",
            "gradient without negative parts at any activation",
            "Springenberg et al. 2014",
            **_SOUND_MAP,
        ),
        "feedback": _ascent(
            "feedback",
            "gates optimised for the class score alone",
            "Cao et al. 2015",
            **_SOUND_FEEDBACK,
            trace_weight=0.0,
        ),
        "feedback_closed_form": Method(
            LABELS["feedback_closed_form"],
            "gates set to 1[x ∂S/∂y > 0], repeated, on every layer",
            "Cao et al. 2015",
            MappingProxyType({"steps": 10, "layers": None, **MAP_OPTIONS}),
            optimise=closed_form_feedback,
        ),
        "global_feedback": _ascent(
            "global_feedback",
            "gates optimised for the class score less their trace norm",
            "Fu et al. 2017",
            **_SOUND_FEEDBACK,
            smoothing=0.04,
            rank=1,
            scales="all",
            propagate=True,
            class_power=3.0,
        ),
        "global_feedback_paper": _ascent(
            "global_feedback_paper",
            "the printed update: one step size and λ for all layers, raw gradients",
            "Fu et al. 2017, Eqs. 9-12",
            trace_weight=0.01,
            gradient_scale="none",
        ),
        "grad_cam": _peer("grad_cam", "Grad-CAM of the last feature maps", "Selvaraju et al. 2017", peers.grad_cam),
        "grad_cam_plus_plus": _peer(
            "grad_cam_plus_plus",
            "Grad-CAM++ of the last feature maps",
            "Chattopadhyay et al. 2018",
            peers.grad_cam_plus_plus,
        ),
        "layer_cam": _peer("layer_cam", "LayerCAM of the last feature maps", "Jiang et al. 2021", peers.layer_cam),
        "integrated_gradients": _peer(
            "integrated_gradients",
            "integrated gradients from the mean colour",
            "Sundararajan et al. 2017",
            peers.integrated_gradients,
            steps=20,
            blur=0.045,
        ),
        "guided_grad_cam": replace(
            _peer(
                "guided_grad_cam",
                "guided backpropagation times Grad-CAM",
                "Selvaraju et al. 2017",
                peers.guided_grad_cam,
                blur=0.045,
            ),
            caution=peers.caution_on_guiding,
        ),
        "attention_rollout": _peer(
            "attention_rollout",
            "attention of all transformer blocks multiplied; the same map for every class",
            "Abnar & Zuidema 2020",
            rollout.attention_rollout,
            **_SOUND_MAP,
        ),
        "attention_relevance": _peer(
            "attention_relevance",
            "attention of all transformer blocks, times its gradient for the class",
            "Chefer et al. 2021",
            rollout.attention_relevance,
            **_SOUND_MAP,
        ),
    }
)


def find_method(method: str | Method) -> Method:
    """A row of the table by its name, a row of your own by where it is (``FILE.py:NAME``), or the row itself.

    Raises:
        OptionError: no method has this name.
        ModelError: the file or the name in it is missing, or is no ``Method``.
    """
    if isinstance(method, Method):
        return method
    if ":" in method:
        found = load_object(method, "method")
        if not isinstance(found, Method):
            raise ModelError(f"{method} is {type(found).__name__}; a looktwice.attention.Method is needed")
        return found
    check_known("method", method, METHODS)
    return METHODS[method]


def resolve_options(method: str | Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """All of a method's options: those given, and the defaults of the others.

    Raises:
        OptionError: an unknown method or option, or a value of another type than the option's default.
    """
    row = find_method(method)
    check_options(method if isinstance(method, str) else row.label.title, options, row.options)
    return {**row.options, **options}
