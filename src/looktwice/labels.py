"""The names and colours of methods and baselines, and the names of networks, alike on every page and in every table.

Nothing here needs torch: a report shows methods, but it must not need a network.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from looktwice.errors import OptionError


@dataclass(frozen=True)
class Label:
    """How a method is shown to people.

    Attributes:
        title: its full name, for headings and legends.
        short_name: its name in a few words, where there is little room.
        colour: ``#rrggbb``, dark enough for text on white (a contrast of 4.5 or more, WCAG 2).
        abbreviation: its name in Fu et al. (2017). Only the paper's tables use it.

    Raises:
        OptionError: the colour is no ``#rrggbb`` (or its short form ``#rgb``).
    """

    title: str
    short_name: str
    colour: str
    abbreviation: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch("#([0-9a-fA-F]{3}){1,2}", self.colour):
            raise OptionError(f"the label {self.title} has the colour {self.colour!r}; #rrggbb is needed")

    @property
    def in_the_paper(self) -> str:
        """The title and the paper's abbreviation, if there is one: "Gradient (GT)"."""
        return f"{self.title} ({self.abbreviation})" if self.abbreviation else self.title


# The colours follow Okabe and Ito (2008): colour-blind readers can tell them apart.
LABELS: Mapping[str, Label] = MappingProxyType(
    {
        "gradient": Label("Gradient", "Gradient", "#92680a", "GT"),
        "guided_backprop": Label("Guided backpropagation", "Guided backprop", "#00785a", "GB"),
        "feedback": Label("Local feedback", "Local feedback", "#0072b2", "FB"),
        "feedback_closed_form": Label("Local feedback, closed form", "Local, closed form", "#1f7699"),
        "global_feedback": Label("Global feedback", "Global feedback", "#bb4e00", "GP"),
        "global_feedback_paper": Label("Global feedback, as printed", "Global, as printed", "#7a5230"),
        "grad_cam": Label("Grad-CAM", "Grad-CAM", "#8a4fa3"),
        "grad_cam_plus_plus": Label("Grad-CAM++", "Grad-CAM++", "#a0486b"),
        "layer_cam": Label("LayerCAM", "LayerCAM", "#5a6b1f"),
        "integrated_gradients": Label("Integrated gradients", "Integrated gradients", "#444444"),
        "guided_grad_cam": Label("Guided Grad-CAM", "Guided Grad-CAM", "#4a3fb5"),
        "attention_rollout": Label("Attention rollout", "Attention rollout", "#8f3a3a"),
        "attention_relevance": Label("Attention relevance", "Attention relevance", "#1d6f42"),
        "center_box": Label("Centre box", "Centre box", "#6b7280"),
        "full_image": Label("Whole image", "Whole image", "#6b7280"),
    }
)
"""Every label, by the name that the command line and the files of a run use."""

PAPER_METHODS = tuple(name for name, label in LABELS.items() if label.abbreviation)
"""The names of the four methods that Fu et al. (2017) compare."""

_OTHER_COLOUR = "#2f5d62"


def label_of(name: str) -> Label:
    """The label of a method. A method that is not in the table gets a title made of its name.

    Args:
        name: as the command line and the files of a run have it.

    Returns:
        The label.

    >>> label_of("grad_cam").title
    'Grad-CAM'
    >>> label_of("my_method").title
    'My method'
    """
    title = name.replace("_", " ").strip().capitalize() or name
    return LABELS.get(name) or Label(title, title, _OTHER_COLOUR)


def network_label(name: str) -> str:
    """How a network is called in tables and figures: one of the user's own by its file and factory.

    Args:
        name: as the command line and the files of a run have it.

    >>> network_label("nets/mine.py:build")
    'mine:build'
    >>> network_label("nets/googlenet_bn.py:googlenet_bn")
    'googlenet_bn'
    >>> network_label("resnet50")
    'resnet50'
    """
    place, _, factory = name.rpartition(":")
    if not place.endswith(".py"):
        return name
    stem = re.split(r"[\\/]", place)[-1].removesuffix(".py")
    return stem if stem == factory else f"{stem}:{factory}"
