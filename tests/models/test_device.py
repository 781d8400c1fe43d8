"""On which device a network runs where the user names none."""

import torch

from looktwice.models import default_device


def test_each_process_has_its_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert default_device(None, {"LOCAL_RANK": "6"}) == "cuda:2"
    assert default_device("cuda", {"SLURM_LOCALID": "3"}) == "cuda:3"
    assert default_device(None, {}) == "cuda:0"
    assert [default_device(name, {"LOCAL_RANK": "2"}) for name in ("cpu", "cuda:1")] == ["cpu", "cuda:1"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_device(None, {"LOCAL_RANK": "2"}) == "cpu"
