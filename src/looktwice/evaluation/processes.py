"""Which part of the work is this process's, and on which device."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from looktwice.errors import RunError


@dataclass(frozen=True)
class Shard:
    """Which of ``world_size`` processes this one is, from 0."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Shard":
        """What torchrun (RANK, WORLD_SIZE) or else SLURM (SLURM_PROCID, SLURM_NTASKS) says; alone without either.

        Raises:
            RunError: numbers that make no sense.
        """
        for rank, world in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
            if rank in environment and world in environment:
                seen = f"{rank}={environment[rank]} and {world}={environment[world]}"
                try:
                    shard = cls(int(environment[rank]), int(environment[world]))
                except ValueError as error:
                    raise RunError(f"{seen}: whole numbers are needed; unset both for one process") from error
                if not 0 <= shard.rank < shard.world_size:
                    raise RunError(f"{seen}: a rank from 0 below the number is needed; unset both for one process")
                return shard
        return cls()


def default_device(device: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The device of this process: "cuda" (or no choice, where there is one) is the GPU of its rank on the machine."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cuda" or torch.cuda.device_count() < 2:
        return device
    rank = environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID", "0"))
    return f"cuda:{int(rank) % torch.cuda.device_count()}"
