"""TF32 is off while a network is frozen, and as it was afterwards."""

import threading

import pytest
import torch

import networks
from looktwice.gating.frozen import frozen

CUDNN = torch.backends.cudnn


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


@pytest.mark.skipif(not hasattr(CUDNN, "conv"), reason="this PyTorch has one choice for all")
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
