"""The local page: an API in front of one thread that runs the network, and static files."""

from looktwice.errors import MissingExtraError

try:
    import python_multipart  # noqa: F401 - Starlette's parser of forms, which it loads late
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        f"the page needs the package {error.name}, which is missing: pip install 'looktwice[web]'"
    ) from error
