"""What the site changes in the pages: help of the commands, links to files outside, formulas, and tables that fit."""

import re
from html import unescape
from pathlib import Path
from typing import Any

HELP = re.compile(r"^<!-- help of every command -->$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
MODULE = re.compile(r"src/looktwice/(\w+)(?:/\w+)?(?:\.py)?")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
SCREEN = re.compile(r'<img ([^>]*)src="([^"]*)-light\.webp"([^>]*)>')
TABLE = re.compile(r"<table>(.*?)</table>", re.DOTALL)
INTERVAL = re.compile(r" (\[[−+\-\d.,  ]+\])(?=</)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """MkDocs calls it with each page's text."""
    docs = Path(config["docs_dir"])
    here = (docs / page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        """A module's source is its reference page. A file that the site leaves out is named; else the text stays."""
        text, address = found.groups()
        if ":" in address or address.startswith("#"):
            return found[0]
        target = (here / address.partition("#")[0]).resolve()
        inside = target.is_relative_to(docs)
        if inside and not config["exclude_docs"].match_file(target.relative_to(docs).as_posix()):
            return found[0]
        path = target.relative_to(docs.parent).as_posix()
        module = MODULE.fullmatch(path)
        if module and (docs / f"reference/{module[1]}.md").exists():
            return f"[{text}]({'../' * (len(here.parts) - len(docs.parts))}reference/{module[1]}.md)"
        return f"`{path}` in the repository" if inside else text

    return HELP.sub(lambda _: _help(), LINK.sub(link, markdown))


def on_page_content(html: str, **_: Any) -> str:
    """MkDocs calls it with each page's HTML."""
    return SCREEN.sub(_screen, TABLE.sub(_table, FORMULA.sub(_formula, html)))


def _screen(found: re.Match[str]) -> str:
    """A screenshot of the light page, and that of the dark page for readers of dark pages."""
    before, name, after = found.groups()
    return "".join(f'<img {before}src="{name}-{scheme}.webp#only-{scheme}"{after}>' for scheme in ("light", "dark"))


def _formula(found: re.Match[str]) -> str:
    r"""TeX as MathML, which browsers draw by themselves. One that stands alone has a box in which it can scroll."""
    from latex2mathml.converter import convert

    tag, opening, tex = found.groups()
    drawn = convert(unescape(tex).strip(), display="block" if opening == "[" else "inline")
    return drawn if tag == "span" else f'<div class="formula" tabindex="0" role="group">{drawn}</div>'


def _table(found: re.Match[str]) -> str:
    """A table in a box in which it can scroll; the interval of a number stands below it."""
    rows = INTERVAL.sub(r" <small>\1</small>", found[1])
    return f'<div class="table" tabindex="0" role="group"><table class="fit">{rows}</table></div>'


def _help() -> str:
    from typer.main import get_command
    from typer.testing import CliRunner

    from looktwice.cli import app

    def text(*arguments: str) -> str:
        shown = CliRunner().invoke(app, [*arguments, "--help"], prog_name="looktwice", env={"COLUMNS": "90"})
        if shown.exit_code:
            raise RuntimeError(f"looktwice {' '.join(arguments)} --help failed: {shown.output}")
        return shown.output.strip()

    names = sorted(get_command(app).commands)
    return "\n\n".join(f"## {name}\n\n```text\n{text(name)}\n```" for name in names)
