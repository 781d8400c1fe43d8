"""Checkpoints switched off, with the names that older and newer versions of PyTorch have."""

from types import SimpleNamespace

import pytest

from looktwice.gating import checkpointing

NAMES = {
    "newer": ("_checkpoint_impl", "CheckpointFunction", "_checkpoint_without_reentrant_generator"),
    "older": ("CheckpointFunction", "_checkpoint_without_reentrant_generator"),
}


class Reentrant:
    @classmethod
    def apply(cls, function, preserve, *args):
        return "checkpoint", function(*args)


def module_of(version):
    entries = {
        "_checkpoint_impl": lambda function, args, kwargs: ("checkpoint", function(*args, **kwargs)),
        "CheckpointFunction": Reentrant,
        "_checkpoint_without_reentrant_generator": lambda *_, **__: iter(["saved", None]),
    }
    return SimpleNamespace(**{name: entries[name] for name in NAMES[version]})


@pytest.mark.parametrize("version", NAMES)
def test_what_a_version_has_is_switched_off_inside_and_put_back_after(version, monkeypatch):
    module = module_of(version)
    before = vars(module).copy()
    monkeypatch.setattr(checkpointing, "checkpoint", module)
    with checkpointing.without_checkpointing():
        if version == "newer":
            assert module._checkpoint_impl(abs, (-3,), {}) == 3
        else:
            assert module.CheckpointFunction.apply(abs, True, -3) == 3
            assert list(module._checkpoint_without_reentrant_generator(abs, True)) == [None]
    assert vars(module) == before
