"""Every command and every block of Python in README and docs runs, in order, from the root of the repository.

What cannot run here says so in the page: ``<!-- needs: REASON -->`` before its fence, with one of ``pages.REASONS``.
"""

import importlib.util
import json
import re

import pytest

from looktwice.attention.choice import choose_methods
from pages import (
    PAGES,
    REASONS,
    ROOT,
    assert_alike,
    blocks_of,
    check_requirements,
    page_id,
    read_blocks,
    read_page,
)

WITH_BLOCKS = {page_id(page): page for page in PAGES if blocks_of(page)}
QUICK = {
    "CONTRIBUTING.md", "docs/howto/many-gpus.md", "docs/method.md", "docs/networks.md", "docs/reproduce.md",
    "docs/results.md",
}  # fmt: skip
"""Pages that take less than five seconds; the others are slow tests."""

EXTRAS = {
    "docs/howto/named-networks.md": {"timm", "transformers", "onnx", "onnx2torch"},
    "docs/howto/other-tools.md": {"captum", "quantus", "pytorch_grad_cam", "supervision"},
    "docs/howto/read-a-result.md": {"pytorch_grad_cam"},
    "docs/reference/forms.md": {"pycocotools"},
}
"""Further packages that a page's blocks import."""


def marked(name):
    missing = [package for package in EXTRAS.get(name, ()) if importlib.util.find_spec(package) is None]
    marks = [] if name in QUICK else [pytest.mark.slow]
    return [*marks, pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marked(name), id=name) for name in WITH_BLOCKS])
def test_a_page_runs_from_top_to_bottom(name, tmp_path):
    before = {path: path.read_bytes() for path in (ROOT / "examples").rglob("*") if path.is_file()}
    reading = read_page(WITH_BLOCKS[name], tmp_path / "root")
    CHECKS.get(name, lambda _: None)(reading)
    assert {path: path.read_bytes() for path in before} == before


# What the blocks of some pages must leave.


def has_labels_in_every_form(reading):
    made = {file.name for file in (reading.folder / "labels").iterdir()}
    assert {"coco.json", "yolo", "label-studio.json", "label-studio.xml", "review.html", "classes.json"} <= made
    assert "problems.txt" not in made
    assert len(json.loads((reading.folder / "labels" / "coco.json").read_text())["images"]) == 6


def the_first_look(reading):
    has_labels_in_every_form(reading)
    names = reading.names
    assert names["attention"].maps.shape[0] == 1
    assert names["model"].classes[names["attention"].targets[0]] == "tiger cat"
    assert names["boxes"]
    for box in names["boxes"]:
        assert 0 <= box.x1 < box.x2 <= 451
        assert 0 <= box.y1 < box.y2 <= 300


def tour(reading):
    assert "right with a probability of" in reading.all_printed
    assert "of the extent's energy" in reading.all_printed
    own_data(reading)


def label_data(reading):
    has_labels_in_every_form(reading)
    (printed,) = [text for text in reading.printed.values() if "(" in text and ".jpg" in text]
    assert len(printed.splitlines()) == 6
    assert {"coco.json", "labels.csv"} <= {file.name for file in (reading.folder / "labels-python").iterdir()}
    assert (reading.folder / "labels" / "check.json").is_file()


def many_gpus(reading):
    assert (reading.folder / "labels" / "coco.json").is_file()


def own_data(reading):
    printed = next(text for text in reading.printed.values() if text.startswith("4 images, 0 of them failed"))
    assert {"gradient", "global_feedback", "center_box"} <= set(re.findall(r"^\w+", printed, re.MULTILINE))
    assert (reading.folder / "out" / "own-data" / "run" / "summary.json").is_file()


def read_a_result(reading):
    own_data(reading)
    assert len(reading.names["rows"]) == 4 * 4  # pictures, and methods with the two baselines


def own_method(reading):
    """The page's rows work at every door."""
    names = reading.names
    assert names["attention"].scores.shape == (1, 4)
    assert names["boxes"]
    titles = [method.label.title for method in names["plan"].chosen]
    assert titles == ["Local feedback", "Sign feedback", "Occlusion"]
    file = ROOT / "examples" / "own_method.py"
    network = names["looktwice"].load_model("squeezenet1_1", weights="random")
    images = names["images"][..., :64, :64]
    found = names["looktwice"].attend(network.module, images, 5, method=f"{file}:OCCLUSION")
    assert found.maps.shape == (1, 64, 64)
    chosen = choose_methods({f"{file}:{name}": {} for name in ("SIGN", "OCCLUSION")})
    assert [method.name for method in chosen] == ["SIGN", "OCCLUSION"]


def named_networks(reading):
    names = reading.names
    assert names["model"].classes == ("cat", "cup", "rocket")
    assert names["images"].shape == (1, 3, 96, 96)
    model = names["looktwice"].load_model(f"hf:{reading.folder}/out/my-network")
    assert model.classes == ("cat", "cup", "rocket")
    assert model.preprocessing == names["model"].preprocessing


def other_tools(reading):
    names = reading.names
    assert {"captum.png", "cam.png", "boxes.png"} <= {file.name for file in reading.folder.iterdir()}
    assert names["found"].shape == (1, 3, 224, 224)
    assert set(names["compared"]) == {"gradient", "global_feedback"}
    assert names["grayscale"].shape == (1, 224, 224)
    assert len(names["detections"]) == len(names["boxes"]) >= 1
    assert names["heat"].shape == names["found_at"].shape == (300, 451)


def forms(reading):
    runs = reading.folder / "runs"
    assert {path.name for path in runs.iterdir()} == {"coco", "csv", "voc", "wsol"}
    assert all((path / "summary.json").is_file() for path in runs.iterdir())
    assert len(reading.names["train"]) > 0
    assert reading.names["values"].shape == (300, 451)


CHECKS = {
    "README.md": the_first_look,
    "docs/index.md": the_first_look,
    "docs/tour.md": tour,
    "docs/howto/label-data.md": label_data,
    "docs/howto/many-gpus.md": many_gpus,
    "docs/howto/own-data.md": own_data,
    "docs/howto/read-a-result.md": read_a_result,
    "docs/howto/own-method.md": own_method,
    "docs/howto/named-networks.md": named_networks,
    "docs/howto/other-tools.md": other_tools,
    "docs/reference/forms.md": forms,
}


# What the pages say of their blocks.


def test_readme_home_and_recipe_begin_with_the_same_command():
    """The first use of all: a folder of pictures becomes a labelled data set."""
    first = {
        name: next(
            command.removeprefix(".venv/bin/")
            for block in blocks_of(WITH_BLOCKS[name])
            for command in block.commands
            if "looktwice label" in command
        )
        for name in ("README.md", "docs/index.md", "docs/howto/label-data.md")
    }
    assert len(set(first.values())) == 1, first


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_only_known_reasons_leave_a_block_out(name):
    for block in blocks_of(WITH_BLOCKS[name]):
        assert set(block.needs) <= REASONS, f"{block} needs {block.needs}"
        assert not block.needs or block.language in ("python", "sh"), f"{block} would not run anyway"


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_what_a_page_includes_of_an_example_it_also_runs(name):
    ran = "".join(block.text for block in blocks_of(WITH_BLOCKS[name]) if not (block.is_included or block.needs))
    for block in blocks_of(WITH_BLOCKS[name]):
        if block.is_included:
            file = re.match(r'--8<-- "([^":]+)', block.text)[1]
            assert file in ran, f"{block} shows {file}, and nothing on the page runs it"


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_text_that_no_block_printed_is_called_an_example_or_a_layout(name):
    for block in blocks_of(WITH_BLOCKS[name]):
        if block.language in ("text", "json") and not block.is_output:
            assert re.search(r"example|layout|like this", block.before[-300:]), f"{block}: {block.before[-300:]}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_what_a_page_installs_exists(page):
    """In its blocks, comments and sentences alike."""
    for found in re.findall(r"pip install ([^`\n|]*)", page.read_text()):
        words = [word.strip("\"'();,") for word in found.split()]
        wanted = [word for word in words if re.match(r"[.\w]", word)][:1]
        check_requirements(wanted, page_id(page))


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_options_of_scripts_in_blocks_that_do_not_run_here_exist(name):
    for block in blocks_of(WITH_BLOCKS[name]):
        for command in block.commands if block.needs else ():
            words = command.split()
            if words[0] == "python":
                assert (ROOT / words[1]).is_file(), f"{block}: {words[1]}"
                source = "".join(file.read_text() for file in (ROOT / words[1]).parent.glob("*.py"))
                wrong = [option for option in re.findall(r"--[a-z][a-z-]*", command) if f'"{option}"' not in source]
                assert wrong == [], f"{block}: {words[1]}"


# The reader of these tests.


def test_a_reason_that_nobody_knows_is_seen():
    (block,) = read_blocks("<!-- needs: luck -->\n```sh\nlooktwice models\n```\n", "page.md")
    assert block.needs == ("luck",)
    assert not set(block.needs) <= REASONS


def test_a_fence_that_is_not_closed_is_an_error():
    with pytest.raises(AssertionError, match=r"page\.md:1: the fence is not closed"):
        list(read_blocks("```sh\nlooktwice models\n", "page.md"))


@pytest.mark.parametrize("fence", ["```rust", "    ```sh", "```sh title"])
def test_a_fence_that_is_not_known_is_an_error(fence):
    with pytest.raises(AssertionError, match=r"page\.md:1"):
        list(read_blocks(f"{fence}\nlooktwice models\n```\n", "page.md"))


def test_a_command_has_its_continued_lines_and_no_comment():
    text = "looktwice attend a.jpg \\\n    --top 2  # the best two\n# none\nmake docs\n"
    (block,) = read_blocks(f"```sh\n{text}```\n", "page.md")
    assert block.commands == ["looktwice attend a.jpg --top 2", "make docs"]


def test_a_line_with_two_commands_is_two_and_a_quoted_semicolon_is_none():
    (block,) = read_blocks("```\nlooktwice models; looktwice methods\nlooktwice attend 'a;b'\n```\n", "p")
    assert block.commands == ["looktwice models", "looktwice methods", "looktwice attend 'a;b'"]


def test_a_block_without_a_language_is_text_if_it_begins_with_no_program():
    (block,) = read_blocks("```\nILSVRC/Data\n```\n", "p")
    assert (block.language, block.commands) == ("text", [])


def test_the_mark_of_an_output_and_the_paragraph_before_are_kept():
    (block,) = read_blocks("It prints\n\n<!-- output -->\n```text\ncat 45%\n```\n", "p")
    assert block.is_output
    assert block.before == "It prints"


@pytest.mark.parametrize("found", ["cat 45% [104, 51]", "cat  45%\n[108, 47]"])
def test_numbers_may_differ_a_little(found):
    assert_alike("cat 45% [108, 47]", found, "")


@pytest.mark.parametrize("found", ["cup 45% [108, 47]", "cat 45% [108, 52]", "cat 45% [108]", "cat 0.45% [108, 47]"])
def test_other_words_and_other_numbers_are_seen(found):
    with pytest.raises(AssertionError):
        assert_alike("cat 45% [108, 47]", found, "")


@pytest.mark.parametrize("wanted", ["looktwice[web]", "looktwice", ".[wab]", "no-such-package"])
def test_what_cannot_be_installed_is_seen(wanted):
    with pytest.raises(AssertionError):
        check_requirements([wanted], "page.md")
