"""The local page on which one drops a picture and sees what a network attends to.

The page is static files. An API answers it, and one thread runs the network. Nothing of a picture is kept after the
answer.
"""

from looktwice.errors import MissingExtraError

try:
    import python_multipart  # noqa: F401 - Starlette needs it for forms, and loads it late
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        f"the page needs the package {error.name}, which is missing: pip install 'looktwice[web]'"
    ) from error
