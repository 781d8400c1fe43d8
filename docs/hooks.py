"""Changes that the site makes to the pages: it adds the help of the commands, and mends links to files outside."""

import re
from pathlib import Path
from typing import Any

HELP = re.compile(r"^<!-- help of every command -->$", re.MULTILINE)
OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+([^)]*)\)")
MODULE = re.compile(r"src/looktwice/(\w+)(?:/\w+)?(?:\.py)?")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """MkDocs calls it with each page's text."""
    docs = Path(config["docs_dir"])
    here = (docs / page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        """A link to a module's source leads to its reference page. Of links to other files, only the text stays."""
        if (here / found[0].rpartition("](")[2][:-1].partition("#")[0]).resolve().is_relative_to(docs):
            return found[0]
        module = MODULE.fullmatch(found[2])
        return f"[{found[1]}](reference/{module[1]}.md)" if module and here == docs else found[1]

    return HELP.sub(lambda _: _help(), OUTSIDE.sub(link, markdown))


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
