"""The benchmark of speed: two editions of the package in one process, ratios, pictures, memory."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import looktwice
from networks import Branching

SOURCE = Path(looktwice.__file__).parents[1]


@pytest.fixture
def speed(benchmark_script: Callable[..., ModuleType]) -> Any:
    return benchmark_script("speed", "editions", "cases")


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """An edition whose ``attend`` gives something else, from a module that only a call imports."""
    files = {
        "__init__.py": "",
        "attention/__init__.py": "",
        "attention/api.py": "def attend(network, images, **choices):\n"
        "    from looktwice.answer import ANSWER\n"
        "    return ANSWER, choices\n",
        "answer.py": "ANSWER = 'as it was'\n",
    }
    for name, text in files.items():
        file = tmp_path / "looktwice" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return Branching().eval()


IMAGES = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def modules() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "looktwice"}


def test_an_older_edition_runs_its_own_code_and_today_s_stays(
    speed: Any, older: Path, network: torch.nn.Module
) -> None:
    today = looktwice.attend(network, IMAGES).maps
    before, path = modules(), list(sys.path)
    edition = speed.Edition(older)
    with edition.in_place():
        assert edition.attend(network, IMAGES, method="feedback") == ("as it was", {"method": "feedback"})
        assert Path(str(sys.modules["looktwice.answer"].__file__)) == older / "looktwice" / "answer.py"
    assert modules() == before
    assert sys.path == path
    assert torch.equal(looktwice.attend(network, IMAGES).maps, today)


def test_two_copies_of_the_package_do_not_disturb_each_other(speed: Any, network: torch.nn.Module) -> None:
    edition = speed.Edition(SOURCE)
    assert edition.attend is not looktwice.attend
    expected = looktwice.attend(network, IMAGES)
    for _ in range(2):
        with edition.in_place():
            found = edition.attend(network, IMAGES)
        assert type(found) is not type(expected)
        assert torch.equal(found.maps, expected.maps)
        assert torch.equal(looktwice.attend(network, IMAGES).maps, expected.maps)


def test_an_older_edition_is_put_away_after_an_error(speed: Any, older: Path) -> None:
    (older / "looktwice" / "answer.py").write_text("raise RuntimeError('broken')")
    before = modules()
    edition = speed.Edition(older)
    with pytest.raises(RuntimeError, match="broken"), edition.in_place():
        edition.attend(None, IMAGES)
    assert modules() == before


def test_a_folder_without_the_package_is_refused(speed: Any, older: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no looktwice/__init__\.py; the src folder of an older checkout"):
        speed.Edition(older / "looktwice")


def test_both_editions_are_timed_in_turns(speed: Any, older: Path, network: torch.nn.Module) -> None:
    works = speed.contenders(network, IMAGES, speed.Edition(older))
    times = speed.take_turns(works, 2, "cpu", "cpu")
    assert {"GP", "FB", "GP before", "FB before", "plain", "forward"} <= set(times)
    assert all(len(seconds) == 2 for seconds in times.values())
    assert {"GP / GP before", "FB / FB before"} <= set(speed.compared(times))


def test_ratios_are_medians_of_the_turns_with_the_smallest_and_the_largest(speed: Any) -> None:
    assert speed.STEPS == 5
    found = speed.compared({"GP": [2.0, 6.0, 3.0], "FB": [1.0, 2.0, 2.0], "plain": [1.0, 1.0, 1.0]})
    assert found == {"GP / FB": [2.0, 1.5, 3.0], "FB / (T + 1) plain": [2 / 6, 1 / 6, 2 / 6]}


def test_weights_are_as_they_were_after_a_plain_pass(speed: Any, network: torch.nn.Module) -> None:
    next(network.parameters()).requires_grad_(False)
    before = [weight.requires_grad for weight in network.parameters()]
    speed.take_turns(speed.contenders(network, IMAGES, None), 1, "cpu", "cpu")
    assert [weight.requires_grad for weight in network.parameters()] == before
    assert all(weight.grad is None for weight in network.parameters())


def test_pictures_are_real_and_fill_the_batch(speed: Any) -> None:
    case = speed.Case("squeezenet1_1", "random", 8, 64, "cpu", "bfloat16", True)
    model, images = case.prepare()
    assert images.shape == (8, 3, 64, 64)
    assert images.dtype == next(model.module.parameters()).dtype == torch.bfloat16
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert len(images.unique(dim=0)) == 6
    assert torch.equal(images[6:], images[:2])


def test_facts_of_a_case_have_no_folder_of_this_machine(speed: Any) -> None:
    facts = speed.Case("/home/me/nets.py:small", "/data/small.safetensors", 1, None, "cpu", "float32", False).facts
    assert (facts["name"], facts["weights"]) == ("small", "small.safetensors")


def test_models_are_named_with_or_without_weights(benchmark_script: Callable[..., ModuleType]) -> None:
    cases: Any = benchmark_script("cases")
    assert cases.entries("resnet50,/a/b.py:make=/c/d.pt") == [("resnet50", "random"), ("/a/b.py:make", "/c/d.pt")]
