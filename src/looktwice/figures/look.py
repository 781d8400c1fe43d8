"""The look that looktwice's pages of one file share: colours in light and dark, and boxes over pictures."""

from pathlib import Path


def page_look() -> str:
    """The style sheet as text, to stand before a page's own rules."""
    return Path(__file__).with_name("look.css").read_text(encoding="utf-8")
