"""The trace norm of a channel's gates and its gradient (Fu et al. 2017, Eqs. 6-12; Grave et al. 2011).

Variational form: ‖z‖_* = ½ inf_{g≻0} tr(zᵀ g⁻¹ z) + tr(g), reached at g = (z zᵀ)^½ and smoothed to
g = (z zᵀ + μI)^½. With g fixed, the penalty's gradient is g⁻¹ z. With z = U diag(γ) Vᵀ:

    g⁻¹ z = U diag(γ / √(γ² + μ)) Vᵀ,   the smoothed polar factor of z.

Errata of the printed text: Eq. 9 lacks the factor ½ that Eq. 10 has (with symmetric g the gradient is g⁻¹ z, not
2 g⁻¹ z). Eq. 11 prints V diag(1/√(γ′ + μ)) Uᵀ; by Eq. 8 it is U diag(1/√(γ² + μ)) Uᵀ with γ the singular values of z.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from looktwice.errors import OptionError

Minor = Literal["keep", "suppress", "drop", "project"]
"""What becomes of the "minor constituent of γ", which the paper gets rid of without saying how (METHOD, errata).

``keep``: all singular values take part. ``suppress``: γ′ = 0 on the minor part, so its weight is 1/√μ, the literal
Eq. 11. ``drop``: the minor part takes no part in the step. ``project``: z itself is replaced by its truncation.
"""

Solver = Literal["fast", "svd"]
"""``svd``: full decomposition, the reference. ``fast``: power iteration at rank 1, else eigenvectors of z zᵀ."""


def _chebyshev_zeros(count: int, below: float) -> tuple[float, ...]:
    """Of the polynomial that is least on [0, ``below``], among those of its degree that are as large beyond."""
    return tuple(below / 2 * (1 + math.cos(math.pi * (2 * j + 1) / (2 * count))) for j in reversed(range(count)))


SHIFTS = _chebyshev_zeros(5, 0.8)
"""Where the power iteration's polynomial is zero, in units of γ₁²."""

CLOSE_SHIFTS = _chebyshev_zeros(7, 0.9)
"""The same where the second singular value turned out to be close to the first."""

UNSETTLED = 1e-3
"""‖z zᵀu - γ²u‖ / γ² from which power iteration has not found a singular pair."""

MANY = 64
"""From so many matrices of close singular values further iterations are faster than decompositions one by one."""


def trace_norm(z: Tensor) -> Tensor:
    """‖z‖_*, the sum of the singular values: z (..., H, W) → (...)."""
    singular_values: Tensor = torch.linalg.svdvals(z)
    return singular_values.sum(-1)


def trace_gradient(
    z: Tensor,
    *,
    smoothing: float,
    minor: Minor = "keep",
    minor_share: float = 0.1,
    rank: int | None = None,
    solver: Solver = "svd",
) -> Tensor:
    """g⁻¹ z, the gradient of the smoothed trace norm: (..., H, W) → (..., H, W).

    Args:
        z: gates in [0, 1], any leading axes.
        smoothing: μ > 0 of g = (z zᵀ + μI)^½, in units of a squared singular value (an all-open H×W gate has γ² = HW).
        minor: which reading of "get rid of the minor constituent"; ``project`` steps on the truncated z.
        minor_share: share of the energy Σγ² that counts as minor, taken from the smallest γ up; 0 ≤ share < 1.
        rank: how many leading singular values are major, instead of ``minor_share``.
        solver: full singular value decomposition, or the fast way to the same.

    Raises:
        OptionError: ``smoothing`` not positive, an unknown ``minor`` or ``solver``, a share outside [0, 1), a rank
            below 1.
    """
    check_spectral_options(smoothing, minor, minor_share, rank, solver)
    with torch.autocast(z.device.type, enabled=False):
        if solver == "fast" and _is_constant(z):  # as open gates are before the first step: γ₁ is all there is
            return z * (z.square().sum((-2, -1), keepdim=True) + smoothing).rsqrt()
        if solver == "fast" and rank == 1 and minor != "keep":
            u, gamma_v = _leading_pair(z)
            weight = (gamma_v.square().sum(-1, keepdim=True) + smoothing).rsqrt()
            minor_weight = smoothing**-0.5 if minor == "suppress" else 0.0
            return torch.addcmul(minor_weight * z, (weight - minor_weight) * u, gamma_v)
        U, gamma, gamma_Vh = _gram_decomposition(z) if solver == "fast" else _svd(z)
        weight = (gamma.square() + smoothing).rsqrt()
        if minor != "keep":
            minor_weight = smoothing**-0.5 if minor == "suppress" else 0.0
            weight = weight.masked_fill(~major_part(gamma, minor_share, rank), minor_weight)
        step: Tensor = (U * weight[..., None, :]) @ gamma_Vh
        return step


def _is_constant(z: Tensor) -> bool:
    return bool(z.amin() == z.amax())  # aminmax() would copy what lies channels_last


def truncate(z: Tensor, minor_share: float = 0.1, rank: int | None = None, solver: Solver = "svd") -> Tensor:
    """z without its minor singular values: (..., H, W) → (..., H, W)."""
    with torch.autocast(z.device.type, enabled=False):
        if solver == "fast" and rank == 1:
            u, gamma_v = _leading_pair(z)
            return u * gamma_v
        U, gamma, gamma_Vh = _gram_decomposition(z) if solver == "fast" else _svd(z)
        return (U * major_part(gamma, minor_share, rank)[..., None, :].to(z.dtype)) @ gamma_Vh


def _svd(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (..., H, R), γ descending (..., R) and diag(γ) Vᵀ (..., R, W)."""
    U, gamma, Vh = torch.linalg.svd(z, full_matrices=False)
    return U, gamma, gamma[..., None] * Vh


def _gram_decomposition(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same from the eigenvectors of z zᵀ; a γ below √ε of the largest is only good to that."""
    try:
        _, U = torch.linalg.eigh(z @ z.mT)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # not in the stubs
        return _svd(z)  # in single precision eigenvectors may not converge where many eigenvalues are equal
    U = U.flip(-1)[..., : min(z.shape[-2:])]
    gamma_Vh = U.mT @ z
    return U, gamma_Vh.norm(dim=-1), gamma_Vh


def _leading_pair(z: Tensor) -> tuple[Tensor, Tensor]:
    """u (..., H, 1) and γ vᵀ (..., 1, W) of the largest singular value; zeros for a zero matrix.

    A few power iterations settle most matrices; those whose second singular value is close to the first get more, and
    what is not settled by then is decomposed. Products are sums, which run along memory in gates that lie
    ``channels_last``.
    """
    across = z.ndim == 4 and z.is_contiguous(memory_format=torch.channels_last)
    batch = _Matrices(z.movedim(1, -1), 1, 2) if across else _Matrices(z, z.ndim - 2, z.ndim - 1)
    u, gamma_v = batch.power_iteration(SHIFTS)
    unsettled = batch.unsettled(u, gamma_v)
    if across:
        u, gamma_v, unsettled = u.movedim(-1, 1), gamma_v.movedim(-1, 1), unsettled.movedim(-1, 1)
    few = unsettled[..., 0, 0]
    if few.any():
        closer, v = _close_pair(z[few])
        return u.index_put((few,), closer), gamma_v.index_put((few,), v)
    return u, gamma_v


def _close_pair(z: Tensor) -> tuple[Tensor, Tensor]:
    """The same of matrices (N, H, W) whose two largest singular values are close."""
    if len(z) < MANY:
        return _decomposed_pair(z)
    batch = _Matrices(z.permute(1, 2, 0).contiguous(), 0, 1)
    u, gamma_v = batch.best_in_plane(*batch.power_iteration(CLOSE_SHIFTS))
    unsettled = batch.unsettled(u, gamma_v)[0, 0]
    u, gamma_v = u.permute(2, 0, 1), gamma_v.permute(2, 0, 1)
    if unsettled.any():
        exact, v = _decomposed_pair(z[unsettled])
        return u.index_put((unsettled,), exact), gamma_v.index_put((unsettled,), v)
    return u, gamma_v


def _decomposed_pair(z: Tensor) -> tuple[Tensor, Tensor]:
    U, _, gamma_Vh = _svd(z)
    return U[..., :1], gamma_Vh[..., :1, :]


class _Matrices:
    """Matrices in [0, 1] whose rows and columns lie along two given axes. Vectors keep both."""

    def __init__(self, entries: Tensor, rows: int, columns: int) -> None:
        self._entries, self._rows, self._columns = entries, rows, columns
        self._tiny = torch.finfo(entries.dtype).tiny

    def power_iteration(self, shifts: Sequence[float]) -> tuple[Tensor, Tensor]:
        """About u and γ vᵀ of the largest singular value.

        It starts from the row sums, which are never orthogonal to u since gates are not negative (Perron). Each
        iteration but the first is shifted by a zero of a Chebyshev polynomial (Saad, *Numerical Methods for Large
        Eigenvalue Problems*, 2011, ch. 4), so that with ``SHIFTS`` all that has γ² < 0.8 γ₁² falls to a sixtieth in
        five iterations, where unshifted ones leave up to a third.
        """
        u = self._entries.sum(self._columns, keepdim=True)
        u = u / u.amax(self._rows, keepdim=True).clamp_min(self._tiny)  # a norm would underflow on tiny gates
        zzt_u = self._times(self._transposed_times(u))
        rayleigh = self._dot(u, zzt_u) / self._dot(u, u).clamp_min(self._tiny)
        energy = rayleigh.clamp_min(self._tiny)  # γ₁², or a little less
        u = zzt_u / energy
        for shift in shifts:
            u = torch.sub(self._times(self._transposed_times(u)) / energy, u, alpha=shift)
        u = u / self._dot(u, u).sqrt().clamp_min(self._tiny)
        return u, self._transposed_times(u)

    def best_in_plane(self, u: Tensor, gamma_v: Tensor) -> tuple[Tensor, Tensor]:
        """Of the unit vectors in the plane of u and z zᵀu the one with the largest γ (Rayleigh and Ritz)."""
        energy, residual = self._energy_and_residual(u, gamma_v)
        length = self._dot(residual, residual).sqrt()
        across = residual / length.clamp_min(self._tiny)
        gamma_across = self._transposed_times(across)
        angle = torch.atan2(2 * length, energy - gamma_across.square().sum(self._columns, keepdim=True)) / 2
        return angle.cos() * u + angle.sin() * across, angle.cos() * gamma_v + angle.sin() * gamma_across

    def unsettled(self, u: Tensor, gamma_v: Tensor) -> Tensor:
        """Which are not yet a singular pair."""
        energy, residual = self._energy_and_residual(u, gamma_v)
        return self._dot(residual, residual) > (UNSETTLED * energy).square()

    def _energy_and_residual(self, u: Tensor, gamma_v: Tensor) -> tuple[Tensor, Tensor]:
        """γ² and z zᵀu - γ²u."""
        energy = gamma_v.square().sum(self._columns, keepdim=True)
        return energy, torch.sub(self._times(gamma_v), u * energy)

    def _times(self, v: Tensor) -> Tensor:
        return (self._entries * v).sum(self._columns, keepdim=True)

    def _transposed_times(self, u: Tensor) -> Tensor:
        return (self._entries * u).sum(self._rows, keepdim=True)

    def _dot(self, a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(self._rows, keepdim=True)


def major_part(gamma: Tensor, minor_share: float, rank: int | None = None) -> Tensor:
    """Which of the descending singular values (..., R) belong to the major part, as a mask (..., R).

    The ``rank`` leading ones; without a rank the fewest that hold at least 1 - ``minor_share`` of the energy Σγ², all
    of them for a zero matrix.
    """
    if rank is not None:
        return torch.arange(gamma.shape[-1], device=gamma.device).expand_as(gamma) < rank
    energy = gamma.square()
    held_before = energy.cumsum(-1) - energy
    return held_before < (1 - minor_share) * energy.sum(-1, keepdim=True) + torch.finfo(gamma.dtype).tiny


def check_spectral_options(
    smoothing: float, minor: str, minor_share: float, rank: int | None = None, solver: str = "svd"
) -> None:
    """Refuses options outside their range, naming the argument."""
    if not smoothing > 0:
        raise OptionError(f"smoothing is {smoothing}; μ must be positive, or g⁻¹ does not exist for a closed gate")
    if minor not in get_args(Minor):
        raise OptionError(f"minor is {minor!r}; one of {', '.join(get_args(Minor))} is needed")
    if not 0 <= minor_share < 1:
        raise OptionError(f"minor_share is {minor_share}; a share of the energy in [0, 1) is needed")
    if rank is not None and rank < 1:
        raise OptionError(
            f"rank is {rank}; at least one singular value is major, or none is given (minor_share decides)"
        )
    if solver not in get_args(Solver):
        raise OptionError(f"solver is {solver!r}; one of {', '.join(get_args(Solver))} is needed")
