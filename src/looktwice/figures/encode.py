"""Pictures as bytes and as text for a page."""

import base64
from io import BytesIO

from PIL import Image


def png_bytes(picture: Image.Image) -> bytes:
    """The content of a PNG file.

    Args:
        picture: an image in any mode that PNG has, such as RGB or L (8-bit gray).

    Returns:
        The file's bytes. Every pixel keeps its value.
    """
    data = BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """An image file as a ``data:`` address, which a page can hold in its own text.

    Args:
        kind: the image's format as in its media type, ``image/KIND``: "png" or "jpeg".
        content: the file's bytes.

    Returns:
        The address, with the bytes in base64.

    >>> data_uri("png", b"abc")
    'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
