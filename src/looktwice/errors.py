"""The errors that users see. Each message says what was found, what is needed, and what to do."""


def one_line(error: BaseException) -> str:
    """An error's text in one line, or the name of its class if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


class LooktwiceError(Exception):
    """The base of every error that this library raises on purpose. The command line prints it in one line."""


class ModelError(LooktwiceError):
    """A network cannot be loaded, or a method cannot work on it (no activation calls, TorchScript)."""


class InputError(LooktwiceError, ValueError):
    """An image, a tensor or a target class cannot be used."""


class OptionError(LooktwiceError, ValueError):
    """An option has an unknown name, or a value outside its range."""


class DatasetError(LooktwiceError):
    """The files of a data set are missing, or are not as its layout needs them."""


class RunError(LooktwiceError):
    """An evaluation run on disk cannot be written, resumed or read."""


class MissingExtraError(LooktwiceError, ImportError):
    """An optional package is not installed. The message names the extra that installs it."""


class LooktwiceWarning(UserWarning):
    """A result that must not be taken for more than it is."""
