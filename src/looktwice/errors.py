"""What can go wrong for a user. Every message says what was seen, what is needed, and the remedy."""


def one_line(error: BaseException) -> str:
    """An error's text in one line; its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


class LooktwiceError(Exception):
    """Base of every error this library raises on purpose; the command line prints it as one line."""


class ModelError(LooktwiceError):
    """A network that cannot be loaded, or on which the method is not defined (no activation calls, TorchScript)."""


class InputError(LooktwiceError, ValueError):
    """An image, tensor or target that cannot be used."""


class OptionError(LooktwiceError, ValueError):
    """An unknown name or a value outside its range among a call's choices."""


class DatasetError(LooktwiceError):
    """A data set whose layout, annotations or images are not as they must be."""


class RunError(LooktwiceError):
    """An evaluation run on disk that cannot be written, resumed or read."""


class MissingExtraError(LooktwiceError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""
