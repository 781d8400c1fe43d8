"""When a device's memory is too small, told alike for accelerators and CPUs."""

import torch

_OF_A_CPU = ("can't allocate memory", "not enough memory", "out of memory")
"""What the CPU's allocator says. It raises a plain ``RuntimeError``."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OF_A_CPU)
