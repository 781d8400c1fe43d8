"""A network of the user's own, made by a function in a file or a package."""

import sys
from dataclasses import replace
from typing import Any

from torch import nn

from looktwice.errors import ModelError
from looktwice.gating.outputs import NetworkOutput
from looktwice.models.model import Model
from looktwice.models.preprocessing import IMAGENET, Preprocessing, of_torchvision
from looktwice.user_code import opened_object, user_code

NEEDED = "a function that returns a torch.nn.Module or a looktwice.models.Model is needed"


def call_factory(name: str) -> Model:
    """What a user's own function makes. A plain network has no names of classes.

    It has the preprocessing that it carries as an attribute, ours or torchvision's. Any other gets ImageNet's.

    Args:
        name: where the function is: ``FILE.py:factory`` or ``package.module:factory``.

    Raises:
        ModelError: no such function, an error in the user's own code, or a result that is no network.
    """
    with opened_object(name, "network") as factory:
        if isinstance(factory, (nn.Module, Model)) or not callable(factory):
            raise ModelError(f"{name} is {_kind(factory)}; {NEEDED}")
        with user_code(name):
            made = factory()
    if isinstance(made, nn.Module):
        return Model(name, made, _carried(made) or IMAGENET)
    if not isinstance(made, Model):
        raise ModelError(f"{name}: the factory returned {_kind(made)}; {NEEDED}")
    return _checked(made, name)


def _carried(module: nn.Module) -> Preprocessing | None:
    """The preprocessing that a network carries; ``None`` if it carries none that can be read."""
    carried = getattr(module, "preprocessing", None)
    if isinstance(carried, Preprocessing):
        return carried
    presets = sys.modules.get("torchvision.transforms._presets")  # not imported: then nothing can be of its type
    return of_torchvision(carried) if presets and isinstance(carried, presets.ImageClassification) else None


def _checked(made: Model, name: str) -> Model:
    """A model that the user has put together, under the name by which it was asked for."""
    if not isinstance(made.module, nn.Module):
        raise ModelError(f"{name}: the module of its Model is {_kind(made.module)}; a torch.nn.Module is needed")
    if not isinstance(made.preprocessing, Preprocessing):
        raise ModelError(
            f"{name}: the preprocessing of its Model is {_kind(made.preprocessing)}; a "
            "looktwice.models.Preprocessing is needed"
        )
    if not isinstance(made.output, NetworkOutput):
        raise ModelError(
            f"{name}: the output of its Model is {_kind(made.output)}; a looktwice.models.NetworkOutput is needed"
        )
    if isinstance(made.classes, str) or not all(isinstance(each, str) for each in made.classes):
        raise ModelError(f"{name}: the classes of its Model are {made.classes!r}; a name for each class is needed")
    return replace(made, name=name, classes=tuple(made.classes))


def _kind(value: Any) -> str:
    return type(value).__name__
