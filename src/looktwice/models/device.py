"""On which device a network runs where the user names none."""

import os
from collections.abc import Mapping

import torch


def default_device(device: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The device for this process.

    Args:
        device: as the user named it, such as "cpu" or "cuda:1". ``None`` is "cuda" where there is a GPU, else "cpu".
        environment: tells which of several processes on the machine this one is (LOCAL_RANK or SLURM_LOCALID).

    Returns:
        The device. "cuda" becomes the GPU whose number is this process's, such as "cuda:2".
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cuda" or torch.cuda.device_count() < 2:
        return device
    number = environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", "0"))
    return f"cuda:{int(number) % torch.cuda.device_count()}"
