"""Changes one place of the source at a time and runs the tests of its wing: do they notice?

    python benchmarks/mutants.py [WING …] [--count 50] [--seed 0] [--place FILE:LINE]

A mutant is a copy of the package with one change: a comparison at its border, a number that is one larger, + for −,
``and`` for ``or``, a dropped ``not``, ``max`` for ``min``, a keyword argument left out, two arguments swapped. The same
seed always gives the same mutants. A mutant is killed if a test fails or runs too long. A mutant that survives shows a
place that no test holds, or a change that changes no result.

The survivors of seed 0, and why no test can kill them, are in ``tests/long/README.md``.
"""

import argparse
import ast
import copy
import difflib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

WINGS = {
    "localization": (("localization/*.py",), ("tests/localization",), ("tests/metrics",)),
    "metrics": (("metrics/*.py",), ("tests/metrics",), ("tests/runs",)),
    "gating": (("gating/*.py",), ("tests/gating",), ("tests/feedback", "tests/attention")),
    "feedback": (("feedback/*.py",), ("tests/feedback",), ("tests/attention",)),
    "attention": (
        ("attention/evidence.py", "attention/finishing.py", "attention/affinity.py", "attention/maps.py"),
        ("tests/attention/test_evidence.py", "tests/attention/test_affinity.py", "tests/attention/test_attend.py"),
        ("tests/attention",),
    ),
}
"""By wing: the files that are changed, the tests that have to notice, and those that are asked if these do not."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}

OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}

NAMES = {
    "max": "min",
    "amax": "amin",
    "argmax": "argmin",
    "maximum": "minimum",
    "any": "all",
    "floor": "ceil",
    "clamp_min": "clamp_max",
    "clamp_min_": "clamp_max_",
    "zeros": "ones",
    "zeros_like": "ones_like",
    "sum": "mean",
}
NAMES |= {second: first for first, second in NAMES.items()}


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: the changed file, from the package's folder.
        line: where the change begins, from 1.
        kind: what is changed.
        source: the whole changed file.
        difference: the changed lines, before and after.
    """

    file: str
    line: int
    kind: str
    source: str
    difference: str


def main() -> None:
    """Makes mutants, runs the tests on each, and prints what they noticed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wings", nargs="*", metavar="WING", help=", ".join(WINGS))
    parser.add_argument("--count", type=int, default=50, help="mutants in all, the same number for each wing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", help="FILE or FILE:LINE; all mutants of this place")
    asked = parser.parse_args()
    wings = asked.wings or list(WINGS)
    if unknown := set(wings) - set(WINGS):
        parser.error(f"unknown wing: {', '.join(unknown)}; there are {', '.join(WINGS)}")
    results: dict[str, int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "looktwice"
        shutil.copytree(ROOT / "src" / "looktwice", package, ignore=shutil.ignore_patterns("__pycache__"))
        for wing in wings:
            files, *stages = WINGS[wing]
            usual = [(tests, time_tests(package.parent, tests)) for tests in stages]
            for mutant in chosen(files, max(1, asked.count // len(wings)), asked.seed, asked.place):
                target = package / mutant.file
                before = target.read_text()
                target.write_text(mutant.source)
                begun = time.monotonic()
                outcome = outcome_of(package.parent, mutant, usual)
                target.write_text(before)
                results[outcome] += 1
                say(f"{outcome:8} {time.monotonic() - begun:4.0f} s  {mutant.file}:{mutant.line}  {mutant.kind}")
                say(mutant.difference)
    say(", ".join(f"{number} {outcome}" for outcome, number in sorted(results.items())))


def say(line: str) -> None:
    """Writes a line at once: a run takes long, and is often watched."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def time_tests(source: Path, tests: tuple[str, ...]) -> float:
    """The seconds that tests take on the package as it is."""
    begun = time.monotonic()
    if run_tests(source, tests, limit=900) != "survived":
        sys.exit(f"{' '.join(tests)} fail without any change; mend them first")
    seconds = time.monotonic() - begun
    say(f"{' '.join(tests)}: {seconds:.0f} s without a change")
    return seconds


def outcome_of(source: Path, mutant: Mutant, usual: Sequence[tuple[tuple[str, ...], float]]) -> str:
    """What happens to a mutant: the tests run one group after the other, until one notices."""
    for tests, seconds in usual:
        outcome = run_tests(source, nearest_first(tests, mutant.file), limit=3 * seconds + 20)
        if outcome != "survived":
            return outcome
    return "survived"


def nearest_first(tests: tuple[str, ...], file: str) -> tuple[str, ...]:
    """The files of the tests; those that name the changed module most come first: they are the likeliest to notice."""
    module = re.compile(rf"\b{Path(file).stem}\b")
    files = [each for name in tests for each in sorted((ROOT / name).rglob("test_*.py")) or [ROOT / name]]
    return tuple(str(each) for each in sorted(files, key=lambda each: -len(module.findall(each.read_text()))))


def run_tests(source: Path, tests: tuple[str, ...], *, limit: float) -> str:
    """Runs tests on the package in a folder → "killed", "survived" or "timeout"."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m"]
    command += ["not slow and not browser and not long", *tests]
    variables = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return "timeout"
    return "survived" if done.returncode == 0 else "killed"


def chosen(patterns: tuple[str, ...], count: int, seed: int, place: str | None) -> Iterator[Mutant]:
    """Some mutants of the files that fit the patterns, drawn without repetition; of a place all."""
    package = ROOT / "src" / "looktwice"
    paths = sorted(path for pattern in patterns for path in package.glob(pattern) if path.name != "__init__.py")
    every = [mutant for path in paths for mutant in mutants_of(path.read_text(), str(path.relative_to(package)))]
    if place is not None:
        file, _, line = place.partition(":")
        yield from (each for each in every if each.file == file and line in ("", str(each.line)))
        return
    yield from random.Random(seed).sample(every, min(count, len(every)))


def mutants_of(source: str, file: str) -> Iterator[Mutant]:
    """All mutants of a file; texts, types and errors stay."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    content = source.encode()
    for node in nodes_of(ast.parse(source)):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        for kind, changed in changes_of(node):
            text = ast.unparse(changed)
            if not isinstance(changed, ast.Constant | ast.Call | ast.Name):
                text = f"({text})"
            made = (content[:begin] + text.encode() + content[end:]).decode()
            pieces = difflib.unified_diff(lines, made.splitlines(keepends=True), n=0, lineterm="\n")
            yield Mutant(file, node.lineno, kind, made, "".join(list(pieces)[3:]))


def nodes_of(node: ast.AST) -> Iterator[ast.expr]:
    """All expressions whose value counts, from top to bottom."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_comment"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(
                child, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom
            ):
                continue
            if isinstance(child, ast.expr):
                yield child
            yield from nodes_of(child)


def changes_of(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The kinds of changes of an expression, and the changed expression."""
    other = copy.deepcopy(node)
    match other:
        case ast.Compare(ops=[op]):
            other.ops = [COMPARISONS[type(op)]()]
            yield "comparison", other
        case ast.Constant(value=bool(value)):
            yield "truth value", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "number", ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield "number", ast.Constant(value * 1.5 if value else 0.5)
        case ast.BinOp(op=op) if type(op) in OPERATIONS:
            other.op = OPERATIONS[type(op)]()
            yield "operation", other
        case ast.BoolOp(op=op):
            other.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield "and, or", other
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield "dropped sign", operand
        case ast.IfExp(body=body, orelse=orelse):
            other.body, other.orelse = orelse, body
            yield "branches", other
        case ast.Call():
            yield from changed_calls(other)


def changed_calls(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """The changes of a call: another function, swapped arguments, a keyword less."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name in NAMES:
        other = copy.deepcopy(call)
        if isinstance(other.func, ast.Name):
            other.func.id = NAMES[name]
        elif isinstance(other.func, ast.Attribute):
            other.func.attr = NAMES[name]
        yield "function", other
    if len(call.args) > 1 and not any(isinstance(each, ast.Starred) for each in call.args[:2]):
        other = copy.deepcopy(call)
        other.args[:2] = [call.args[1], call.args[0]]
        yield "arguments", other
    for index, keyword in enumerate(call.keywords):
        if keyword.arg is not None:
            other = copy.deepcopy(call)
            del other.keywords[index]
            yield f"without {keyword.arg}", other


if __name__ == "__main__":
    main()
