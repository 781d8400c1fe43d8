"""Works through a page of README or docs as a reader does: its blocks run in order and in one state."""

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
REASONS = {"a download", "ILSVRC", "a GPU", "several machines", "another program", "an hour"}
"""Why a block may be left out here: ``<!-- needs: REASON, REASON -->`` in the line before its fence."""

LANGUAGES = {"python", "sh", "text", "json", ""}
PROGRAMS = {"looktwice", "python", "make", "pip", "git", "cd", "cp", "mkdir", "tar", "torchrun", "srun", "source"}
"""What the lines of a block without a language begin with if they are commands."""

INSTALLERS = {"make", "pip", "git", "cd", "source", "."}
"""These change the machine, so their lines are checked and not run. ``test_fresh_clone.py`` runs the README's."""

_FENCE = re.compile(r"^```[ ]*(?P<language>\{ \.python \}|[a-z]*)$")
_MARK = re.compile(r"^<!-- (?P<word>needs|output)(?:: (?P<reasons>.*))? -->$")
_SHELL = re.compile(r"[|<>$`*?{}]|&&")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and text, the line of its fence, its marks, and the paragraph before it."""

    page: str
    line: int
    language: str
    text: str
    needs: tuple[str, ...]
    is_output: bool
    before: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_included(self) -> bool:
        """Whether it is a part of an example, which the page runs as a whole."""
        return self.text.startswith("--8<--")

    @property
    def commands(self) -> list[str]:
        """The lines of a shell, each with what it is continued by, without comments."""
        if self.language != "sh":
            return []
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        stripped = [re.sub(r"(?:^|\s)#.*$", "", line).strip() for line in lines]
        return [command.strip() for line in stripped for command in _parted(line) if command.strip()]


def _parted(line: str) -> list[str]:
    """``a; b`` is two commands; a semicolon within quotes parts nothing."""
    return line.split(";") if ";" in line and not re.search(r"[\"'][^\"']*;", line) else [line]


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def blocks_of(page: Path) -> tuple[Block, ...]:
    """All fenced blocks of a page, from top to bottom."""
    return tuple(read_blocks(page.read_text(), page_id(page)))


def read_blocks(text: str, page: str) -> Iterator[Block]:
    """The fenced blocks of a text; what the reader of this test cannot understand is an error."""
    lines = iter(enumerate(text.splitlines(), 1))
    seen: list[str] = []
    for number, line in lines:
        if not line.lstrip().startswith("```"):
            seen.append(line)
            continue
        opened = _FENCE.match(line)
        assert opened is not None, f"{page}:{number}: {line} is no fence that is known here"
        body = []
        for _, inner in lines:
            if inner == "```":
                break
            body.append(inner)
        else:
            raise AssertionError(f"{page}:{number}: the fence is not closed")
        yield _block(page, number, opened["language"], body, seen)
        seen = []


def _block(page: str, number: int, language: str, body: list[str], seen: list[str]) -> Block:
    marked = _MARK.match(seen[-1]) if seen else None
    paragraph = " ".join(seen[: -1 if marked else None]).strip()
    language = "python" if language == "{ .python }" else language
    assert language in LANGUAGES, f"{page}:{number}: blocks of {language} are not known here"
    if not language:
        first = body[0].split()[0] if body and body[0].split() else ""
        language = "sh" if Path(first).name in PROGRAMS else "text"
    reasons = marked["reasons"].split(", ") if marked and marked["word"] == "needs" else ()
    return Block(
        page, number, language, "\n".join(body) + "\n", tuple(reasons), bool(marked and marked["word"] == "output"),
        paragraph,
    )  # fmt: skip


# A reader.


@dataclass
class Reading:
    """What a page left: its folder, the names of its Python, and what each block printed."""

    folder: Path
    names: dict = field(default_factory=lambda: {"__name__": "__main__"})
    printed: dict[int, str] = field(default_factory=dict)

    @property
    def all_printed(self) -> str:
        return "".join(self.printed.values())


def read_page(page: Path, folder: Path) -> Reading:
    """Runs a page's blocks in a folder that looks like the repository, and compares what they print."""
    make_view(folder)
    reading = Reading(folder)
    last = ""
    with pytest.MonkeyPatch.context() as patch, without_connections():
        patch.chdir(folder)
        for block in blocks_of(page):
            if block.is_output:
                assert_printed(block, last)
            if block.needs or block.is_included or block.language not in ("python", "sh"):
                continue
            last = run_block(block, reading)
            reading.printed[block.line] = last
    return reading


def make_view(folder: Path) -> None:
    """A folder like the repository's root. What the pages may write to is a copy, so nothing is written there."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name in ("docs", "benchmarks", "README.md"):
        (folder / name).symlink_to(ROOT / name)


@contextlib.contextmanager
def without_connections() -> Iterator[None]:
    """Only this machine can be reached: a block that downloads must say so."""
    connect = socket.socket.connect

    def checked(self: socket.socket, address: object) -> None:
        local = self.family == socket.AF_UNIX or (isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1"))
        assert local, f"a block reaches for {address}; mark it: <!-- needs: a download -->"
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked)
        yield


def run_block(block: Block, reading: Reading) -> str:
    """Runs a block and returns what it printed to standard output."""
    if block.language == "python":
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile("\n" * block.line + block.text, block.page, "exec"), reading.names)
        return printed.getvalue()
    return "".join(run_command(command, block) for command in block.commands)


def run_command(command: str, block: Block) -> str:
    """A line of a shell. looktwice's run in this process, which is quick; others, and real shell, by bash."""
    words = shlex.split(command)
    program = Path(words[0]).name or words[0]
    if program in INSTALLERS:
        check_installer(words, block)
        return ""
    if program == "looktwice" and words[1:2] == ["serve"]:
        return serve_and_end(words[1:])
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    words = words[len(variables) :]
    if Path(words[0]).name == "looktwice" and not _SHELL.search(re.sub(r"'[^']*'|\"[^\"]*\"", "", command)):
        return run_here(words[1:], variables, f"{block}: {command}")
    done = subprocess.run(
        ["bash", "-c", command], env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{block}: {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_here(arguments: list[str], variables: dict[str, str], said: str) -> str:
    """The command line in this process."""
    from looktwice.cli import run

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["looktwice", *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
            run()
    assert end.value.code == 0, f"{said}\n{out.getvalue()}{err.getvalue()}"
    return out.getvalue()


def environment() -> dict[str, str]:
    """Programs find this source, and ``looktwice`` and ``python`` are this environment's."""
    programs = f"{ROOT / 'tests' / 'helpers' / 'programs'}:{Path(sys.executable).parent}"
    return os.environ | {
        "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "PATH": f"{programs}:{os.environ['PATH']}",
    }  # fmt: skip


def serve_and_end(arguments: list[str]) -> str:
    """Starts the page at a free port, opens it, and ends it with Ctrl-C."""
    server = subprocess.Popen(
        [sys.executable, "-m", "looktwice", *arguments, "--port", "0"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        line = next(line for line in server.stdout if "http://" in line)
        with urllib.request.urlopen(re.search(r"http://\S+", line)[0], timeout=60) as answer:
            assert answer.status == 200
        server.send_signal(signal.SIGINT)
        server.wait(20)
    finally:
        server.kill()
        server.wait()
    return line


# What is checked and not run.


def check_installer(words: list[str], block: Block) -> None:
    """``make``'s target and ``pip``'s extra exist."""
    program = Path(words[0]).name
    if program == "make":
        for target in words[1:]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"{block}: {target}"
    if program == "pip":
        assert words[1] == "install", f"{block}: {words}"
        check_requirements([word for word in words[2:] if not word.startswith("-")], str(block))


def check_requirements(requirements: list[str], said: str) -> None:
    """This folder with extras that exist, or a package that an extra or a comment of pyproject names."""
    project = (ROOT / "pyproject.toml").read_text()
    table = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))
    for requirement in requirements:
        own = re.fullmatch(r"\.(?:\[([\w,]+)\])?", requirement)
        if own is None:
            name = re.match(r"[\w-]+", requirement)
            assert name, f"{said}: {requirement}"
            assert name[0] != "looktwice", f"{said}: the index has no looktwice; name the folder, as in '.[web]'"
            assert name[0] in project, f"{said}: {requirement}"
            continue
        unknown = set((own[1] or "").split(",")) - {""} - extras
        assert not unknown, f"{said}: there is no extra {unknown}"


# What is printed.


def assert_printed(block: Block, printed: str) -> None:
    """The words are the same, and the numbers nearly: other versions of PyTorch and Pillow move them a little."""
    told, found = block.text.split(), printed.split()
    assert_alike("\n".join(told), "\n".join(found), str(block))


def assert_alike(told: str, found: str, said: str) -> None:
    """Two texts are alike but for four units of the last digit, or 2 %, of each number."""
    number = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
    words = [re.sub(r"\s+", " ", number.sub("#", text)).strip() for text in (told, found)]
    assert words[1] == words[0], said
    for one, other in zip(number.findall(told), number.findall(found), strict=True):
        last = 10.0 ** -len(one.partition(".")[2])
        assert float(other) == pytest.approx(float(one), rel=0.02, abs=4 * last), f"{said}: {one} is {other}"
