"""Which part of the work is this process's."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from looktwice.errors import RunError


@dataclass(frozen=True)
class Shard:
    """The part of the work that one of ``world_size`` processes does: the one with this ``rank``, from 0."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Shard":
        """What torchrun (RANK, WORLD_SIZE) or else SLURM (SLURM_PROCID, SLURM_NTASKS) tells; else one process.

        Raises:
            RunError: the numbers make no sense.
        """
        for rank, world in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
            if rank in environment and world in environment:
                seen = f"{rank}={environment[rank]} and {world}={environment[world]}"
                try:
                    shard = cls(int(environment[rank]), int(environment[world]))
                except ValueError as error:
                    raise RunError(f"{seen}: whole numbers are needed; unset both for one process") from error
                if not 0 <= shard.rank < shard.world_size:
                    raise RunError(f"{seen}: {rank} must be 0 or more and below {world}; unset both for one process")
                return shard
        return cls()
