"""Each error that the troubleshooting page quotes is one of the program's."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
OTHERS = ("Installing and starting", "From PyTorch")
"""Groups whose messages are of other programs."""


def quoted() -> list[str]:
    """The messages of looktwice that the page has, with … for what differs."""
    groups = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    ours = [text for text in groups if not text.startswith(OTHERS)]
    assert len(ours) == len(groups) - len(OTHERS)
    return [message for text in ours for message in re.findall(r"\*\*`([^`]+)`\*\*", text)]


@cache
def told() -> tuple[str, ...]:
    """Every text in the source, with … for each value put into it."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "src").rglob("*.py")]
    return tuple({text_of(node) for tree in trees for node in ast.walk(tree)} - {""})


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""


def test_the_page_quotes_many_messages_and_none_twice():
    assert len(quoted()) > 100
    assert len(set(quoted())) == len(quoted())


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_still_told(message: str):
    """All parts between the … stand in one text of the source, in their order."""
    parts = [part.strip(" ;:,'") for part in message.split("…")]
    wanted = re.compile(".*".join(re.escape(part) for part in parts if part), re.DOTALL)
    assert max(map(len, parts)) >= 5, f"{message} says too little to be found"
    assert any(wanted.search(text) for text in told()), f"no text of the source is {message}"


def test_every_group_has_messages_and_every_entry_a_remedy():
    for group in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        entries = re.findall(r"^- (\*\*.*?)(?=^- |^\S|\Z)", group, re.MULTILINE | re.DOTALL)
        assert entries
        for entry in entries:
            explanation = entry.rpartition("`**")[2].lstrip(": \n")
            assert len(explanation) > 12, entry
