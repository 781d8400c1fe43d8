"""The leading singular pair of many small matrices, without a decomposition where that is possible.

Most channels' gates have one singular value far above the others. A few power iterations find it, and cost a fraction
of a decomposition.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from looktwice.gating.memory import is_out_of_memory


def _chebyshev_zeros(count: int, below: float) -> tuple[float, ...]:
    """The zeros of a scaled Chebyshev polynomial: no polynomial of its degree is smaller on [0, ``below``]."""
    return tuple(below / 2 * (1 + math.cos(math.pi * (2 * j + 1) / (2 * count))) for j in reversed(range(count)))


SHIFTS = _chebyshev_zeros(5, 0.8)
"""The zeros of the power iteration's polynomial, in units of γ₁²."""


CLOSE_SHIFTS = _chebyshev_zeros(7, 0.9)
"""The zeros for matrices whose second singular value is close to the first."""


UNSETTLED = 1e-3
"""If ‖z zᵀu - γ²u‖ / γ² is larger, power iteration has not found a singular pair."""


MIN_ITERATED = 64
"""With at least this many close matrices, more iterations are faster than decompositions one by one."""


def svd(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (..., H, R), γ descending (..., R) and diag(γ) Vᵀ (..., R, W)."""
    U, gamma, Vh = torch.linalg.svd(z, full_matrices=False)
    return U, gamma, gamma[..., None] * Vh


def gram_svd(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As ``svd``, from the eigenvectors of z zᵀ. A γ below √ε times the largest is only precise to that."""
    try:
        _, U = torch.linalg.eigh(z @ z.mT)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # not in the stubs
        return svd(z)  # in single precision eigenvectors may not converge where many eigenvalues are equal
    U = U.flip(-1)[..., : min(z.shape[-2:])]
    gamma_Vh = U.mT @ z
    return U, gamma_Vh.norm(dim=-1), gamma_Vh


def leading_pair(z: Tensor) -> tuple[Tensor, Tensor]:
    """u (..., H, 1) and γ vᵀ (..., 1, W) of the largest singular value; zeros for a zero matrix.

    A few power iterations settle most matrices. Matrices whose second singular value is close to the first get more
    iterations. Those that are still not settled are decomposed. Products are written as sums, which run along memory in
    gates that lie ``channels_last``.
    """
    u, gamma_v, few = _power_iteration(z)
    if few.any():
        closer, v = _close_pair(z[few])
        return u.index_put((few,), closer), gamma_v.index_put((few,), v)
    return u, gamma_v


def _power_iteration(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """u, γ vᵀ, and which matrices (...) have not settled."""
    kernel = _kernel() if z.is_cuda else None
    if kernel is not None and kernel.fits(z):
        with torch.cuda.device(z.device):  # Triton starts kernels on the current one
            found: tuple[Tensor, Tensor, Tensor] = kernel.power_iteration(z, SHIFTS, UNSETTLED)
        return found
    across = z.ndim == 4 and z.is_contiguous(memory_format=torch.channels_last)
    batch = _Matrices(z.movedim(1, -1), 1, 2) if across else _Matrices(z, z.ndim - 2, z.ndim - 1)
    u, gamma_v = batch.power_iteration(SHIFTS)
    unsettled = batch.unsettled(u, gamma_v)
    if across:
        u, gamma_v, unsettled = u.movedim(-1, 1), gamma_v.movedim(-1, 1), unsettled.movedim(-1, 1)
    return u, gamma_v, unsettled[..., 0, 0]


@lru_cache(maxsize=1)
def _kernel() -> ModuleType | None:
    """The same in one kernel. ``None`` where Triton is missing, or cannot compile: it needs a C compiler."""
    try:
        kernel = import_module("looktwice.feedback.leading_pair_kernel")
        kernel.power_iteration(torch.ones(1, 1, 1, 1, device="cuda"), SHIFTS, UNSETTLED)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None
    return kernel


def _close_pair(z: Tensor) -> tuple[Tensor, Tensor]:
    """As ``leading_pair``, for matrices (N, H, W) whose two largest singular values are close."""
    if len(z) < MIN_ITERATED:
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
    U, _, gamma_Vh = svd(z)
    return U[..., :1], gamma_Vh[..., :1, :]


class _Matrices:
    """Matrices in [0, 1] whose rows and columns lie along two given axes. Vectors keep both axes."""

    def __init__(self, entries: Tensor, rows: int, columns: int) -> None:
        self._entries, self._rows, self._columns = entries, rows, columns
        self._tiny = torch.finfo(entries.dtype).tiny

    def power_iteration(self, shifts: Sequence[float]) -> tuple[Tensor, Tensor]:
        """An estimate of u and γ vᵀ of the largest singular value.

        It starts from the row sums. They are never orthogonal to u, because gates are not negative (Perron). Each
        iteration but the first is shifted by a zero of a Chebyshev polynomial (Saad, *Numerical Methods for Large
        Eigenvalue Problems*, 2011, ch. 4). With ``SHIFTS``, every part with γ² < 0.8 γ₁² falls to a sixtieth in five
        iterations. Without shifts, up to a third would be left.
        """
        u = self._entries.sum(self._columns, keepdim=True)
        u = u / u.amax(self._rows, keepdim=True).clamp_min(self._tiny)  # a norm would underflow on tiny gates
        zzt_u = self._times(self._transposed_times(u))
        rayleigh = self._dot(u, zzt_u) / self._dot(u, u).clamp_min(self._tiny)
        gamma_squared = rayleigh.clamp_min(self._tiny)  # γ₁², or a little less
        u = zzt_u / gamma_squared
        for shift in shifts:
            u = torch.sub(self._times(self._transposed_times(u)) / gamma_squared, u, alpha=shift)
        u = u / self._dot(u, u).sqrt().clamp_min(self._tiny)
        return u, self._transposed_times(u)

    def best_in_plane(self, u: Tensor, gamma_v: Tensor) -> tuple[Tensor, Tensor]:
        """The unit vector in the plane of u and z zᵀu with the largest γ (Rayleigh and Ritz)."""
        gamma_squared, residual = self._square_and_residual(u, gamma_v)
        length = self._dot(residual, residual).sqrt()
        across = residual / length.clamp_min(self._tiny)
        gamma_across = self._transposed_times(across)
        angle = torch.atan2(2 * length, gamma_squared - gamma_across.square().sum(self._columns, keepdim=True)) / 2
        return angle.cos() * u + angle.sin() * across, angle.cos() * gamma_v + angle.sin() * gamma_across

    def unsettled(self, u: Tensor, gamma_v: Tensor) -> Tensor:
        """Which matrices have no singular pair yet."""
        gamma_squared, residual = self._square_and_residual(u, gamma_v)
        return self._dot(residual, residual) > (UNSETTLED * gamma_squared).square()

    def _square_and_residual(self, u: Tensor, gamma_v: Tensor) -> tuple[Tensor, Tensor]:
        """γ² and z zᵀu - γ²u."""
        gamma_squared = gamma_v.square().sum(self._columns, keepdim=True)
        return gamma_squared, torch.sub(self._times(gamma_v), u * gamma_squared)

    def _times(self, v: Tensor) -> Tensor:
        return (self._entries * v).sum(self._columns, keepdim=True)

    def _transposed_times(self, u: Tensor) -> Tensor:
        return (self._entries * u).sum(self._rows, keepdim=True)

    def _dot(self, a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(self._rows, keepdim=True)
