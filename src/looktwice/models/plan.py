"""How a network is made: what every source of networks gives to ``load_model``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from looktwice.models.model import Model

WeightsKind = Literal["default", "random", "file"]
"""Which weights a network is made with: its published ones, untrained ones, or any that a file then replaces."""


@dataclass(frozen=True)
class NetworkPlan:
    """How to make a network. Nothing is built or fetched before ``build`` is called.

    Attributes:
        name: of the network, as the user gave it.
        build: makes the network with weights of this kind. Its ``Model`` says where they are from. With ``"file"`` the
            caller then copies the weights from the file.
        counts_itself: whether only a pass of the network tells how many classes it has.
    """

    name: str
    build: Callable[[WeightsKind], Model]
    counts_itself: bool = False
