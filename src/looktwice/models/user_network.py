"""A network of the user's own, made by a function in a file or a package."""

from torch import nn

from looktwice.errors import ModelError
from looktwice.user_code import opened_object, user_code


def call_factory(name: str) -> nn.Module:
    """The network that a user's own function makes.

    Args:
        name: where the function is: ``FILE.py:factory`` or ``package.module:factory``.

    Raises:
        ModelError: no such function, an error in the user's own code, or a result that is not an ``nn.Module``.
    """
    with opened_object(name, "network") as factory:
        if not callable(factory):
            raise ModelError(f"{name} is {type(factory).__name__}; a function that returns a torch.nn.Module is needed")
        with user_code(name):
            module = factory()
    if not isinstance(module, nn.Module):
        raise ModelError(f"{name}: the factory returned {type(module).__name__}; it must return a torch.nn.Module")
    return module
