"""Files of users: what each imports is its own, and nothing of it reaches others."""

import copy
import importlib
import io
import pickle
import subprocess
import sys
import textwrap
import threading

import pytest
import torch

from looktwice.errors import ModelError
from looktwice.models import load_model
from looktwice.user_code import load_object, source_file

BLOCKS = """
from torch import nn

class Head(nn.Linear):
    pass

def make(classes={classes}):
    return nn.Sequential(nn.Conv2d(3, 4, 9, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Head(4, classes))
"""


def write(folder, files):
    """Python files: paths without their suffix → texts."""
    for name, text in files.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))


@pytest.fixture
def two(tmp_path):
    """Folders whose networks have 3 and 7 classes, by their own ``blocks.py``."""
    for name, count in (("netA", 3), ("netB", 7)):
        write(tmp_path / name, {"net": "from blocks import make\n", "blocks": BLOCKS.format(classes=count)})
    return tmp_path / "netA", tmp_path / "netB"


@pytest.fixture(autouse=True)
def _nothing_leaks():
    path, modules, finders = list(sys.path), set(sys.modules), len(sys.meta_path)
    yield
    assert sys.path == path
    own = {name for name in set(sys.modules) - modules if not name.startswith("looktwice")}
    assert not {name for name in own if "blocks" in name or name in ("net", "common", "inner", "timm")}
    assert len(sys.meta_path) <= finders + 1


def classes(folder, factory="net.py:make"):
    return len(load_model(f"{folder}/{factory}").classes)


def test_two_folders_with_modules_of_one_name(two):
    assert [classes(folder) for folder in (*two, two[0])] == [3, 7, 3]


def test_two_folders_with_packages_of_one_name(tmp_path):
    for name, count in (("netA", 3), ("netB", 7)):
        files = {
            "net": "from inner.blocks import make\n",
            "inner/__init__": "",
            "inner/blocks": "from . import sizes\nfrom inner.base import make as base\nmake = lambda: base(sizes.K)\n",
            "inner/base": BLOCKS.format(classes=1),
            "inner/sizes": f"K = {count}\n",
        }
        write(tmp_path / name, files)
    assert [classes(tmp_path / name) for name in ("netA", "netB")] == [3, 7]


@pytest.mark.parametrize(
    "late",
    [
        "from blocks import make",
        "import blocks as b; make = b.make",
        "import importlib; make = importlib.import_module('blocks').make",
        "make = __import__('blocks').make",
        "import sys; import blocks; make = sys.modules[blocks.__name__].make",
    ],
)
def test_modules_imported_when_the_factory_is_called(two, late):
    for folder in two:
        (folder / "net.py").write_text(f"def build():\n    {late}\n    return make()\n")
    assert [classes(folder, "net.py:build") for folder in two] == [3, 7]


@pytest.mark.parametrize(
    "late",
    ["from blocks import make", "make = importlib.import_module('blocks').make", "make = by_text('blocks').make"],
)
def test_modules_imported_in_the_forward_pass(two, late):
    for folder in two:
        body = f"""
        import importlib.util
        import importlib
        from importlib import import_module as by_text
        from torch import nn
        assert importlib.util.find_spec("json") and by_text("json") and by_text(".utils", "torch")
        class Late(nn.Module):
            def forward(self, x):
                {late}
                return make()(x)
        """
        (folder / "net.py").write_text(textwrap.dedent(body))
    models = [load_model(f"{folder}/net.py:Late") for folder in two]
    pixels = torch.zeros(1, 3, 32, 32)
    assert [model.module(pixels).shape[1] for model in models] == [3, 7]


def test_a_module_named_like_an_installed_package(two):
    """Installed and imported before, installed and not imported, and one of Python's own library."""
    for folder in two:
        for name in ("PIL", "captum", "random"):
            write(folder, {name: f"from blocks import make as {name}_make\n"})
        lines = [f"from {name} import {name}_make" for name in ("PIL", "captum", "random")]
        (folder / "net.py").write_text("\n".join([*lines, "make = random_make", "import torchvision"]))
    before = sys.modules["PIL"], sys.modules["random"]
    assert [classes(folder) for folder in two] == [3, 7]
    assert (sys.modules["PIL"], sys.modules["random"]) == before


def test_an_installed_package_that_is_first_imported_by_a_users_file_gets_installed_modules(two):
    """Beside a file that is named like a module that the package needs, and that the program has imported."""
    code = (
        "import sys, PIL.Image\n"
        "from looktwice.user_code import load_object\n"
        "make = load_object(sys.argv[1], 'network')\n"
        "import torchvision.datasets.folder as folder\n"
        "assert folder.Image is PIL.Image and sys.modules['PIL'] is PIL\n"
        "print(make()[-1].out_features)"
    )
    for folder, classes in zip(two, ("3", "7"), strict=True):
        write(folder, {"PIL": "from blocks import make as mine\n"})
        (folder / "net.py").write_text("import torchvision.datasets\nfrom PIL import mine as make\n")
        command = [sys.executable, "-c", code, f"{folder / 'net.py'}:make"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.stderr) == (classes, "")


def test_a_module_named_like_one_that_the_program_has_imported_by_text(two, monkeypatch):
    for folder in two:
        text = "import importlib\ndef build():\n    return importlib.import_module('blocks').make()\n"
        (folder / "net.py").write_text(text)
    monkeypatch.syspath_prepend(two[1])
    importlib.invalidate_caches()
    theirs = importlib.import_module("blocks")
    try:
        assert classes(two[0], "net.py:build") == 3
        assert sys.modules["blocks"] is theirs
    finally:
        del sys.modules["blocks"]


def test_a_module_that_the_program_has_imported_from_there_is_shared(two, monkeypatch):
    monkeypatch.syspath_prepend(two[0])
    theirs = importlib.import_module("blocks")
    try:
        assert isinstance(load_model(f"{two[0]}/net.py:make").module[-1], theirs.Head)
        assert classes(two[1]) == 7
    finally:
        del sys.modules["blocks"]


def test_two_files_with_the_same_stem(tmp_path):
    for name, count in (("a", 3), ("b", 7)):
        write(tmp_path / name, {"net": BLOCKS.format(classes=count)})
    models = [load_model(f"{tmp_path}/{name}/net.py:make") for name in ("a", "b")]
    heads = [type(model.module[-1]) for model in models]
    assert heads[0] is not heads[1]
    assert [type(pickle.loads(pickle.dumps(model.module))[-1]) for model in models] == heads


def test_a_file_that_is_changed_between_two_loads(two):
    """In the same second and of the same size, so that cached code would be taken for the new."""
    assert classes(two[0]) == 3
    (two[0] / "blocks.py").write_text(BLOCKS.format(classes=5))
    assert classes(two[0]) == 5
    assert not list(two[0].rglob("__pycache__"))


@pytest.mark.parametrize("place", ["insert(0, COMMON)", "append(COMMON)"])
def test_folders_that_the_users_code_puts_on_the_path(tmp_path, place):
    for name, count in (("netA", 3), ("netB", 7)):
        text = f"""
        import sys, os
        COMMON = os.path.join(os.path.dirname(__file__), 'common')
        sys.path.{place}
        from blocks import make
        def late():
            import blocks
            return blocks.make()
        """
        write(tmp_path / name, {"net": text, "common/blocks": BLOCKS.format(classes=count)})
    assert [classes(tmp_path / name) for name in ("netA", "netB")] == [3, 7]
    assert [classes(tmp_path / name, "net.py:late") for name in ("netA", "netB")] == [3, 7]


def test_modules_of_two_working_folders(two, monkeypatch):
    found = []
    for folder in two:
        monkeypatch.chdir(folder)
        found.append(len(load_model("net:make").classes))
        assert source_file("net:make") == folder / "net.py"
    assert found == [3, 7]


def test_loaded_networks_are_copied_and_pickled(two):
    for folder in two:
        module = load_model(f"{folder}/net.py:make").module
        kept = io.BytesIO()
        torch.save(module, kept)
        kept.seek(0)
        copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(kept, weights_only=False)]
        assert all(type(each[-1]) is type(module[-1]) for each in copies)


def test_a_whole_network_that_the_factory_reads_from_a_file(two, tmp_path):
    """As it was saved by the user's own program, where the module is called ``blocks``."""
    for folder in two:
        text = """
        import io, torch
        def build():
            import blocks
            kept = pickled(blocks)
            return torch.load(kept, weights_only=False)
        def pickled(blocks):
            module, kept = blocks.make(), io.BytesIO()
            blocks.Head.__module__ = "blocks"
            torch.save(module, kept)
            kept.seek(0)
            return kept
        """
        (folder / "net.py").write_text(textwrap.dedent(text))
    assert [classes(folder, "net.py:build") for folder in two] == [3, 7]


def test_folders_of_modules_without_an_init_file(tmp_path):
    for name, count in (("netA", 3), ("netB", 7)):
        files = {"net": "from inner.deeper.blocks import make\n", "inner/deeper/blocks": BLOCKS.format(classes=count)}
        write(tmp_path / name, files)
    assert [classes(tmp_path / name) for name in ("netA", "netB")] == [3, 7]


def test_a_file_that_is_a_link_has_the_neighbours_of_both_places(two, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "net.py").symlink_to(two[0] / "net.py")
    assert classes(tmp_path / "links") == 3
    (tmp_path / "links" / "blocks.py").symlink_to(two[1] / "blocks.py")
    assert classes(tmp_path / "links") == 7


def test_two_methods_with_modules_of_one_name(tmp_path):
    for name, count in (("a", 3), ("b", 7)):
        write(tmp_path / name, {"mine": "from helper import NUMBER as METHOD\n", "helper": f"NUMBER = {count}\n"})
    found = [load_object(f"{tmp_path}/{name}/mine.py:METHOD", "method") for name in ("a", "b")]
    assert found == [3, 7]
    assert [source_file(f"{tmp_path}/{name}/mine.py:METHOD") for name in ("a", "b")] == [
        tmp_path / name / "mine.py" for name in ("a", "b")
    ]


def test_several_threads_that_load(two):
    found, problems = {}, []
    start = threading.Barrier(6)
    for folder in two:
        text = """
        import importlib, time
        def make():
            time.sleep(0.02)
            return importlib.import_module('blocks').make()
        """
        write(folder, {"net": text})

    def load(number):
        start.wait()
        try:
            found[number] = classes(two[number % 2])
        except Exception as error:  # a test of threads has to see it
            problems.append(error)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [found[number] for number in range(6)] == [3, 7] * 3


def test_a_factory_that_loads_another_network(two):
    text = f"""
    import importlib
    import looktwice
    def make():
        assert len(importlib.import_module('blocks').make()[-1].bias) == 3
        assert len(looktwice.load_model('{two[1]}/net.py:make').classes) == 7
        return importlib.import_module('blocks').make()
    """
    write(two[0], {"net": text})
    assert [classes(folder) for folder in two] == [3, 7]


def test_a_file_named_like_this_package(tmp_path):
    write(tmp_path, {"looktwice": "import looktwice\n" + BLOCKS.format(classes=3)})
    assert classes(tmp_path, "looktwice.py:make") == 3
    assert sys.modules["looktwice"].load_model is load_model


def test_neighbours_may_import_the_file_and_each_other(tmp_path):
    files = {
        "net": "SIZE = 4\nfrom .blocks import make\n",
        "blocks": "import net\nfrom base import make as base\ndef make():\n    return base(net.SIZE)\n",
        "base": BLOCKS.format(classes=1),
    }
    write(tmp_path, files)
    assert classes(tmp_path) == 4


def test_a_failed_load_leaves_nothing_and_names_modules_as_the_user_does(two):
    (two[0] / "blocks.py").write_text("make = None\nfrom net import nothing\n")
    before = set(sys.modules)
    with pytest.raises(ModelError, match=r"ImportError: cannot import name 'nothing' from 'net'"):
        load_model(f"{two[0]}/net.py:make")
    assert set(sys.modules) == before
    (two[0] / "net.py").write_text("import blockz\n")
    with pytest.raises(ModelError, match="No module named 'blockz'"):
        load_object(f"{two[0]}/net.py:make", "network")
