"""The trace norm of a channel's gates and its gradient (Fu et al. 2017, Eqs. 6-12; Grave et al. 2011).

The trace norm is the sum of the singular values. It has a variational form,

    ‖z‖_* = ½ inf_{g≻0} tr(zᵀ g⁻¹ z) + tr(g),

whose minimum lies at g = (z zᵀ)^½. The paper smooths it:

    g = (z zᵀ + μI)^½                                                                          (Eq. 8)

With g fixed, the gradient of the penalty λ (½ tr(zᵀ g⁻¹ z) + tr(g)) is

    λ g⁻¹ z                                                                                    (Eq. 10)

With the singular value decomposition z = U diag(γ) Vᵀ,

    g⁻¹ z = U diag(γ / √(γ² + μ)) Vᵀ,   the smoothed polar factor of z                         (Eq. 11)

Errata of the printed text:

- Eq. 9 lacks the factor ½ that Eq. 10 has. Since g is symmetric, the gradient is g⁻¹ z and not 2 g⁻¹ z.
- Eq. 11 prints V diag(1/√(γ′ + μ)) Uᵀ. By Eq. 8 it is U diag(1/√(γ² + μ)) Uᵀ, where γ are the singular values of z.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from looktwice.errors import OptionError
from looktwice.feedback.leading_pair import gram_svd, leading_pair, svd
from looktwice.options import check_choice

Minor = Literal["keep", "suppress", "drop", "project"]
"""What becomes of the "minor constituent of γ". The paper gets rid of it and does not say how.

``keep``: all singular values take part. ``suppress``: γ′ = 0 on the minor part, so its weight is 1/√μ, as in Eq. 11.
``drop``: the minor part takes no part in the step. ``project``: the step starts from the truncation of z.
"""


Solver = Literal["fast", "svd"]
"""``svd``: full decomposition, the reference. ``fast``: power iteration at rank 1, else eigenvectors of z zᵀ."""


@dataclass(frozen=True)
class TraceNorm:
    """The penalty λ ‖z‖_* on every channel's gates, and how its gradient is computed.

    Attributes:
        weight: λ ≥ 0; 0 is no penalty, which is local feedback.
        smoothing: μ > 0, in units of a squared singular value. Where the gradient has a unit, μ is in units of γ² of
            an all-open gate.
        minor: how to "get rid of the minor constituent of γ".
        minor_share: the share of Σγ² that is minor, in [0, 1).
        rank: how many leading singular values are major, instead of ``minor_share``.
        solver: ``"svd"`` is the slow reference.

    Raises:
        OptionError: a value outside its range; the message calls λ ``trace_weight``, as ``attend`` does.
    """

    weight: float = 1.0
    smoothing: float = 1.0
    minor: Minor = "suppress"
    minor_share: float = 0.1
    rank: int | None = None
    solver: Solver = "fast"

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise OptionError(f"trace_weight is {self.weight}; λ must not be negative (0 is local feedback)")
        check_spectral_options(self.smoothing, self.minor, self.minor_share, self.rank, self.solver)

    @property
    def takes_leading_pair(self) -> bool:
        """Whether the gradient takes the leading singular pair alone, by power iteration, and no decomposition."""
        return self.solver == "fast" and self.rank == 1 and self.minor in {"suppress", "drop"}

    def truncated(self, z: Tensor) -> Tensor:
        """Where a step starts: z (..., H, W), or its truncation with ``minor="project"``."""
        return truncate(z, self.minor_share, self.rank, self.solver) if self.minor == "project" else z

    def gradient(self, z: Tensor, all_open: float) -> Tensor:
        """g⁻¹ z (Eq. 10, without λ) at a truncated z: (..., H, W) → (..., H, W). μ counts in units of ``all_open``."""
        return trace_gradient(
            z,
            smoothing=self.smoothing * all_open,
            minor="keep" if self.minor == "project" else self.minor,
            minor_share=self.minor_share,
            rank=self.rank,
            solver=self.solver,
        )


def trace_gradient(
    z: Tensor,
    *,
    smoothing: float,
    minor: Minor = "keep",
    minor_share: float = 0.1,
    rank: int | None = None,
    solver: Solver = "svd",
) -> Tensor:
    """g⁻¹ z, the gradient of the smoothed trace norm (Eqs. 10, 11): (..., H, W) → (..., H, W).

    Args:
        z: gates in [0, 1], any leading axes.
        smoothing: μ > 0 of g = (z zᵀ + μI)^½, in units of a squared singular value (an all-open H×W gate has γ² = HW).
        minor: how to "get rid of the minor constituent"; with ``project`` z must be truncated already.
        minor_share: share of Σγ² that counts as minor, taken from the smallest γ up; 0 ≤ share < 1.
        rank: how many leading singular values are major, instead of ``minor_share``.
        solver: a full singular value decomposition, or the fast way to the same result.

    Raises:
        OptionError: ``smoothing`` not positive, an unknown ``minor`` or ``solver``, a share outside [0, 1), a rank
            below 1.
    """
    check_spectral_options(smoothing, minor, minor_share, rank, solver)
    with torch.autocast(z.device.type, enabled=False):
        if solver == "fast" and _is_constant(z):  # like open gates before the first step: γ₁ is the only singular value
            return z * (z.square().sum((-2, -1), keepdim=True) + smoothing).rsqrt()
        if solver == "fast" and rank == 1 and minor != "keep":
            u, gamma_v = leading_pair(z)
            weight = (gamma_v.square().sum(-1, keepdim=True) + smoothing).rsqrt()
            minor_weight = smoothing**-0.5 if minor == "suppress" else 0.0
            return torch.addcmul(minor_weight * z, (weight - minor_weight) * u, gamma_v)
        U, gamma, gamma_Vh = gram_svd(z) if solver == "fast" else svd(z)
        weight = (gamma.square() + smoothing).rsqrt()
        if minor != "keep":
            minor_weight = smoothing**-0.5 if minor == "suppress" else 0.0
            weight = weight.masked_fill(~major_part(gamma, minor_share, rank), minor_weight)
        step: Tensor = (U * weight[..., None, :]) @ gamma_Vh
        return step


def _is_constant(z: Tensor) -> bool:
    return bool(z.amin() == z.amax())  # aminmax() would copy a channels_last tensor


def truncate(z: Tensor, minor_share: float = 0.1, rank: int | None = None, solver: Solver = "svd") -> Tensor:
    """z without its minor singular values: (..., H, W) → (..., H, W)."""
    with torch.autocast(z.device.type, enabled=False):
        if solver == "fast" and rank == 1:
            u, gamma_v = leading_pair(z)
            return u * gamma_v
        U, gamma, gamma_Vh = gram_svd(z) if solver == "fast" else svd(z)
        return (U * major_part(gamma, minor_share, rank)[..., None, :].to(z.dtype)) @ gamma_Vh


def major_part(gamma: Tensor, minor_share: float, rank: int | None = None) -> Tensor:
    """Which of the descending singular values (..., R) are major, as a mask (..., R).

    With a ``rank``, the leading ones. Without, the fewest that hold at least 1 - ``minor_share`` of Σγ²; all of them
    for a zero matrix.
    """
    if rank is not None:
        return torch.arange(gamma.shape[-1], device=gamma.device).expand_as(gamma) < rank
    squares = gamma.square()
    held_before = squares.cumsum(-1) - squares
    return held_before < (1 - minor_share) * squares.sum(-1, keepdim=True) + torch.finfo(gamma.dtype).tiny


def check_spectral_options(
    smoothing: float, minor: str, minor_share: float, rank: int | None = None, solver: str = "svd"
) -> None:
    """Refuses options outside their range, naming the argument."""
    if not smoothing > 0:
        raise OptionError(f"smoothing is {smoothing}; μ must be positive, or g⁻¹ does not exist for a closed gate")
    check_choice("minor", minor, Minor)
    if not 0 <= minor_share < 1:
        raise OptionError(f"minor_share is {minor_share}; a share of Σγ² in [0, 1) is needed")
    if rank is not None and rank < 1:
        raise OptionError(
            f"rank is {rank}; at least one singular value is major, or none is given (minor_share decides)"
        )
    check_choice("solver", solver, Solver)
