"""TF32 is off while a network is frozen, and as it was afterwards."""

import subprocess
import sys
import threading

import pytest
import torch

import networks
from looktwice.gating.frozen import frozen

CUDNN = torch.backends.cudnn

CHOSEN_APART = pytest.mark.skipif(not hasattr(CUDNN, "conv"), reason="this PyTorch has one choice for all")


@pytest.fixture(autouse=True)
def with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if something had been computed on a GPU."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)


@pytest.mark.parametrize("allowed", [True, False])
def test_convolutions_are_not_rounded_to_ten_bits(allowed: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CUDNN, "allow_tf32", allowed)
    with frozen(networks.Plain()):
        assert not CUDNN.allow_tf32
        with frozen(networks.Plain()):
            assert not CUDNN.allow_tf32
        assert not CUDNN.allow_tf32
    assert CUDNN.allow_tf32 == allowed


def test_the_choice_comes_back_after_an_exception_and_after_the_last_thread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CUDNN, "allow_tf32", True)
    inside, out = threading.Event(), threading.Event()

    def other() -> None:
        with frozen(networks.Plain()):
            inside.set()
            out.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with pytest.raises(ZeroDivisionError), frozen(networks.Plain()):
        raise ZeroDivisionError
    assert not CUDNN.allow_tf32
    out.set()
    thread.join()
    assert CUDNN.allow_tf32


@CHOSEN_APART
def test_convolutions_that_were_chosen_apart_are_put_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(CUDNN, "allow_tf32", False)
    CUDNN.conv.fp32_precision = "tf32"
    with frozen(networks.Plain()):
        assert CUDNN.conv.fp32_precision == "ieee"
    assert CUDNN.conv.fp32_precision == "tf32"
    assert CUDNN.rnn.fp32_precision != "tf32"


def test_a_choice_that_nothing_may_change_is_left(monkeypatch: pytest.MonkeyPatch):
    """As after ``torch.backends.disable_global_flags()``."""
    monkeypatch.setattr(CUDNN, "allow_tf32", True)
    with monkeypatch.context() as fixed:
        fixed.setattr(torch.backends, "flags_frozen", lambda: True)
        with frozen(networks.Plain()):
            assert CUDNN.allow_tf32
    with frozen(networks.Plain()):
        assert not CUDNN.allow_tf32
    assert CUDNN.allow_tf32


def test_without_a_gpu_no_choice_is_touched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(CUDNN, "allow_tf32", True)
    with frozen(networks.Plain()):
        assert CUDNN.allow_tf32


CHOICES = """
import sys
import torch
from looktwice.gating.precision import full_precision

torch.cuda.is_initialized = lambda: True
before, after, inside = sys.argv[1:4]
cudnn = torch.backends.cudnn
exec(before)
if inside == "with":
    with full_precision():
        assert cudnn.conv.fp32_precision != "tf32"
        cudnn.allow_tf32  # can still be asked
exec(after)
try:
    print(cudnn.allow_tf32)
except RuntimeError:
    print("chosen apart")
print(torch.backends.fp32_precision, cudnn.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision)
"""


@CHOSEN_APART
@pytest.mark.parametrize("after", ["pass", "torch.backends.fp32_precision = 'ieee'"], ids=["left", "another later"])
@pytest.mark.parametrize(
    "before",
    ["torch.backends.fp32_precision = 'tf32'", "cudnn.fp32_precision = 'tf32'"],
    ids=["all backends", "all of cuDNN"],
)
def test_a_choice_for_all_that_allows_it_does_not_reach_inside_and_is_followed_later(before: str, after: str):
    """In another process: what nobody has chosen yet cannot be put back here."""
    without, with_it = (
        subprocess.run(
            [sys.executable, "-c", CHOICES, before, after, inside], capture_output=True, text=True, check=True
        ).stdout
        for inside in ("without", "with")
    )
    assert with_it == without
