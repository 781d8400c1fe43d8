"""The trace norm of a channel's gates and its gradient (Fu et al. 2017, Eqs. 6-12; Grave et al. 2011).

Variational form: ‖z‖_* = ½ inf_{g≻0} tr(zᵀ g⁻¹ z) + tr(g), reached at g = (z zᵀ)^½ and smoothed to
g = (z zᵀ + μI)^½. With g fixed, the penalty's gradient is g⁻¹ z. With z = U diag(γ) Vᵀ:

    g⁻¹ z = U diag(γ / √(γ² + μ)) Vᵀ,   the smoothed polar factor of z.

Errata of the printed text: Eq. 9 lacks the factor ½ that Eq. 10 has (with symmetric g the gradient is g⁻¹ z, not
2 g⁻¹ z). Eq. 11 prints V diag(1/√(γ′ + μ)) Uᵀ; by Eq. 8 it is U diag(1/√(γ² + μ)) Uᵀ with γ the singular values of z.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from looktwice.errors import OptionError

Minor = Literal["keep", "suppress", "drop", "project"]
"""What becomes of the "minor constituent of γ", which the paper gets rid of without saying how (METHOD, errata).

``keep``: all singular values take part. ``suppress``: γ′ = 0 on the minor part, so its weight is 1/√μ, the literal
Eq. 11. ``drop``: the minor part takes no part in the step. ``project``: z itself is replaced by its truncation.
"""


def trace_norm(z: Tensor) -> Tensor:
    """‖z‖_*, the sum of the singular values: z (..., H, W) → (...)."""
    singular_values: Tensor = torch.linalg.svdvals(z)
    return singular_values.sum(-1)


def trace_gradient(z: Tensor, *, smoothing: float, minor: Minor = "keep", minor_share: float = 0.1) -> Tensor:
    """g⁻¹ z, the gradient of the smoothed trace norm by full singular value decomposition: (..., H, W) → (..., H, W).

    Args:
        z: gates, any leading axes.
        smoothing: μ > 0 of g = (z zᵀ + μI)^½, in units of a squared singular value (an all-open H×W gate has γ² = HW).
        minor: which reading of "get rid of the minor constituent"; ``project`` steps on the truncated z.
        minor_share: share of the energy Σγ² that counts as minor, taken from the smallest γ up; 0 ≤ share < 1.

    Raises:
        OptionError: ``smoothing`` not positive, an unknown ``minor``, a share outside [0, 1).
    """
    check_spectral_options(smoothing, minor, minor_share)
    U, gamma, Vh = _svd(z)
    weight = gamma / (gamma.square() + smoothing).sqrt()
    if minor != "keep":
        major = major_part(gamma, minor_share)
        minor_weight = gamma / smoothing**0.5 if minor == "suppress" else torch.zeros_like(gamma)
        weight = torch.where(major, weight, minor_weight)
    with torch.autocast(z.device.type, enabled=False):
        return (U * weight[..., None, :]) @ Vh


def truncate(z: Tensor, minor_share: float) -> Tensor:
    """z without its minor singular values: (..., H, W) → (..., H, W)."""
    U, gamma, Vh = _svd(z)
    with torch.autocast(z.device.type, enabled=False):
        return (U * (gamma * major_part(gamma, minor_share))[..., None, :]) @ Vh


def _svd(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    U, gamma, Vh = torch.linalg.svd(z, full_matrices=False)
    return U, gamma, Vh


def major_part(gamma: Tensor, minor_share: float) -> Tensor:
    """Which of the descending singular values (..., R) belong to the major part, as a mask (..., R).

    The fewest leading ones that hold at least 1 - ``minor_share`` of the energy Σγ²; all of them for a zero matrix.
    """
    energy = gamma.square()
    held_before = energy.cumsum(-1) - energy
    return held_before < (1 - minor_share) * energy.sum(-1, keepdim=True) + torch.finfo(gamma.dtype).tiny


def check_spectral_options(smoothing: float, minor: str, minor_share: float) -> None:
    """Refuses options outside their range, naming the argument."""
    if not smoothing > 0:
        raise OptionError(f"smoothing is {smoothing}; μ must be positive, or g⁻¹ does not exist for a closed gate")
    if minor not in get_args(Minor):
        raise OptionError(f"minor is {minor!r}; one of {', '.join(get_args(Minor))} is needed")
    if not 0 <= minor_share < 1:
        raise OptionError(f"minor_share is {minor_share}; a share of the energy in [0, 1) is needed")
