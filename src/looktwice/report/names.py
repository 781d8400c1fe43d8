"""Names, colours and numbers as reports print them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

LOWER_IS_BETTER = ("top1_loc_error", "top5_loc_error", "gt_known_loc_error", "oracle_top1_loc_error")
"""Measures of which less is better."""


def short_name(method: str) -> str:
    """A method in a few letters: "GP", "centre box", "grad cam"."""
    return NAMES.get(method, method.replace("_", " ")).split(" (")[0]


def long_name(method: str) -> str:
    """A method in full."""
    return NAMES.get(method, method.replace("_", " "))


def signed(number: float, digits: int) -> str:
    """A difference as it is printed: with its sign, a true minus, and none at zero."""
    rounded = round(number, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def per_cent(share: float) -> str:
    """A share as it is printed: per cent with one digit."""
    return f"{100 * share:.1f}"


def known_measures(summary: Mapping[str, Any]) -> list[str]:
    """The measures that some method has a value of."""
    methods = summary["methods"].values()
    return [metric for metric in MEASURES if any(scores[metric]["value"] is not None for scores in methods)]


def better_arrow(metric: str) -> str:
    """Where better is."""
    return "↓" if metric in LOWER_IS_BETTER else "↑"


_PAPER_COLOURS = {
    "gradient": "#92680a",
    "guided_backprop": "#00785a",
    "feedback": "#0072b2",
    "global_feedback": "#bb4e00",
    "center_box": "#6b7280",
    "full_image": "#6b7280",
}


_OTHER_COLOURS = ("#8a4fa3", "#1f7699", "#a0486b", "#5a6b1f", "#444444", "#7a5230", "#4a3fb5")
"""After Okabe and Ito (2008), as dark as text on white must be (WCAG 2, a contrast of 4.5)."""


def colours(methods: Sequence[str]) -> dict[str, str]:
    """A colour for each method: the paper's have theirs, others take turns."""
    others = [method for method in methods if method not in _PAPER_COLOURS]
    turns = {method: _OTHER_COLOURS[turn % len(_OTHER_COLOURS)] for turn, method in enumerate(others)}
    return {method: _PAPER_COLOURS.get(method) or turns[method] for method in methods}


ENERGY_BOX = "feedback, energy box"
"""Local feedback with the box of Cao et al. (2015), a row of its own in Table 1."""


NAMES: Mapping[str, str] = MappingProxyType(
    {
        "gradient": "GT (gradient)",
        "guided_backprop": "GB (guided backpropagation)",
        "feedback": "FB (local feedback)",
        ENERGY_BOX: "FB, box of 95 % of the energy",
        "feedback_closed_form": "FB, closed form",
        "global_feedback": "GP (global feedback)",
        "global_feedback_paper": "GP, as printed",
        "grad_cam": "Grad-CAM",
        "grad_cam_plus_plus": "Grad-CAM++",
        "layer_cam": "LayerCAM",
        "integrated_gradients": "Integrated Gradients",
        "guided_grad_cam": "Guided Grad-CAM",
        "center_box": "centre box",
        "full_image": "whole image",
    }
)


MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "top1_loc_error": "top-1 loc. error",
        "top5_loc_error": "top-5 loc. error",
        "gt_known_loc_error": "GT-known error",
        "max_box_acc": "MaxBoxAcc",
        "max_box_acc_v2": "MaxBoxAccV2",
        "pointing_game": "pointing",
        "energy_in_box": "energy in box",
        "mean_iou": "mean IoU",
        "oracle_top1_loc_error": "oracle top-1",
        "oracle_max_box_acc": "oracle MBA",
        "oracle_max_box_acc_v2": "oracle V2",
    }
)
