"""The trace norm and its step against NumPy, channel by channel, and against derivatives by finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import reference
from looktwice.errors import OptionError
from looktwice.feedback import leading_pair as spectral
from looktwice.feedback.trace_norm import check_spectral_options, major_part, trace_gradient, truncate

SHAPES = [(4, 4), (3, 6), (6, 3), (1, 5), (5, 1), (1, 1)]
MINORS = ["keep", "suppress", "drop", "project"]


def gates(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def diagonal(*values: float) -> Tensor:
    return torch.diag(torch.tensor(values, dtype=torch.float64))


def channel_by_channel(z: Tensor, change) -> Tensor:
    matrices = z.flatten(0, -3)
    return torch.stack([torch.from_numpy(change(matrix.numpy())) for matrix in matrices]).view(z.shape)


def numerical_gradient(function, z: Tensor, step: float = 1e-6) -> Tensor:
    gradient = torch.zeros_like(z)
    for at in np.ndindex(*z.shape):
        up, down = z.clone(), z.clone()
        up[at] += step
        down[at] -= step
        gradient[at] = (function(up) - function(down)) / (2 * step)
    return gradient


# ---- the trace norm --------------------------------------------------------------------------------------------------


def test_trace_norm_is_the_variational_form_at_its_optimum():
    """½ (tr zᵀ g⁻¹ z + tr g) at g = (z zᵀ)^½, and no less anywhere near it (Fu et al. 2017, Eq. 6)."""
    z = gates(3, 5).numpy()
    values, vectors = np.linalg.eigh(z @ z.T)

    def form(g):
        return 0.5 * (np.trace(z.T @ np.linalg.inv(g) @ z) + np.trace(g))

    best = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    assert form(best) == pytest.approx(np.linalg.norm(z, "nuc"), rel=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(20):
        nudge = rng.normal(size=(3, 3)) * 0.01
        assert form(best + nudge @ nudge.T + 0.001 * (nudge + nudge.T)) > form(best)


# ---- its gradient ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_is_the_inverse_of_g_times_z(shape):
    """g = (z zᵀ + μI)^½ by an eigendecomposition, g⁻¹ by an inverse: no singular value in sight."""
    z = gates(*shape)
    values, vectors = np.linalg.eigh((z @ z.T).numpy() + 0.3 * np.eye(shape[0]))
    g = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    expected = np.linalg.inv(g) @ z.numpy()
    assert np.allclose(trace_gradient(z, smoothing=0.3), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("trace_weight", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3)])
def test_gradient_is_that_of_the_trace_norm_by_finite_differences(shape, trace_weight):
    """−λ g⁻¹z is the derivative of −λ‖z‖_* at a z of full rank as μ → 0."""
    z = gates(*shape)
    assert np.linalg.matrix_rank(z.numpy()) == min(shape)
    expected = numerical_gradient(lambda m: -trace_weight * np.linalg.norm(m.numpy(), "nuc"), z)
    assert torch.allclose(-trace_weight * trace_gradient(z, smoothing=1e-14), expected, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.01, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_is_that_of_the_smoothed_trace_norm(shape, smoothing):
    z = gates(*shape)
    gradient = trace_gradient(z, smoothing=smoothing)
    by_differences = numerical_gradient(lambda m: reference.smoothed_trace_norm(m.numpy(), smoothing), z)
    assert torch.allclose(gradient, by_differences, atol=1e-7)
    leaf = z.clone().requires_grad_()
    (torch.linalg.svdvals(leaf).square() + smoothing).sqrt().sum().backward()
    assert torch.allclose(gradient, leaf.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("minor_share", [0.0, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 6, 3), (2, 4, 4), (3, 1)])
def test_every_reading_of_minor_channel_by_channel(shape, minor, minor_share):
    z = gates(*shape)
    matrices = z if z.ndim > 2 else z[None]
    expected = channel_by_channel(matrices, lambda m: reference.polar_step(m, 0.5, minor, minor_share)).view(shape)
    ours = trace_gradient(z, smoothing=0.5, minor=minor, minor_share=minor_share)
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-12)


def test_readings_of_minor_by_hand():
    """γ = 4, 2, 1: energies 16, 4, 1 of 21; with a share of 0.1 the last is minor (20/21 > 0.9)."""
    z = diagonal(4, 2, 1)
    root = 0.25**0.5
    major = [4 / (16 + 0.25) ** 0.5, 2 / (4 + 0.25) ** 0.5]
    for minor, last in {"keep": 1 / 1.25**0.5, "suppress": 1 / root, "drop": 0.0, "project": 0.0}.items():
        step = trace_gradient(z, smoothing=0.25, minor=minor, minor_share=0.1)
        assert torch.allclose(step, diagonal(*major, last), rtol=1e-12), minor
    assert torch.allclose(truncate(z, 0.1), diagonal(4, 2, 0), atol=1e-12)
    assert torch.allclose(truncate(z, 0.3), diagonal(4, 0, 0), atol=1e-12)
    assert torch.allclose(truncate(z, 0.0), z, atol=1e-12)


def test_an_all_open_gate_has_a_step_of_one_over_the_root_of_its_size():
    step = trace_gradient(torch.ones(4, 9, dtype=torch.float64), smoothing=1e-12)
    assert torch.allclose(step, torch.full((4, 9), 1 / 6, dtype=torch.float64), rtol=1e-9)


@pytest.mark.parametrize("minor", MINORS)
def test_closed_and_rank_deficient_gates_give_finite_steps(minor):
    z = torch.zeros(4, 5, 6)
    z[1] = 1
    z[2, 2, 3] = 1
    z[3] = 1e-25
    step = trace_gradient(z, smoothing=1e-6, minor=minor)
    assert step.isfinite().all()
    assert torch.equal(step[0], torch.zeros(5, 6))
    assert truncate(z, 0.1).isfinite().all()
    assert torch.allclose(truncate(z[1], 0.1), z[1], atol=1e-6)


def test_autocast_does_not_coarsen_the_step():
    z = gates(3, 5, 6).float()
    for minor in MINORS:
        expected, kept = trace_gradient(z, smoothing=0.1, minor=minor), truncate(z, 0.1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.allclose(trace_gradient(z, smoothing=0.1, minor=minor), expected, atol=1e-6), minor
            assert torch.allclose(truncate(z, 0.1), kept, atol=1e-6)


matrices = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000)).map(
    lambda drawn: gates(drawn[0], drawn[1], seed=drawn[2])
)


@settings(deadline=None, max_examples=40)
@given(matrices, st.floats(1e-6, 100))
def test_laws_of_the_smoothed_polar_factor(z, smoothing):
    step = trace_gradient(z, smoothing=smoothing)
    assert torch.linalg.matrix_norm(step, 2) < 1  # γ / √(γ² + μ) < 1
    assert torch.allclose(trace_gradient(z.T, smoothing=smoothing), step.T, atol=1e-9)
    assert torch.allclose(trace_gradient(3 * z, smoothing=9 * smoothing), step, atol=1e-9)
    assert torch.allclose(trace_gradient(z.flip(0), smoothing=smoothing), step.flip(0), atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(matrices, st.floats(0, 0.99))
def test_truncation_keeps_the_energy_it_promises_with_the_lowest_rank(z, minor_share):
    kept = truncate(z, minor_share)
    total = z.square().sum()
    assert kept.square().sum() >= (1 - minor_share) * total * (1 - 1e-12)
    rank = int(torch.linalg.matrix_rank(kept))
    gamma = torch.linalg.svdvals(z)
    assert gamma[: rank - 1].square().sum() < (1 - minor_share) * total * (1 + 1e-12)


def test_the_major_part_of_a_row_of_singular_values():
    gamma = torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert major_part(gamma, 0.1).tolist() == [[True, False, False], [True, True, True], [True, True, True]]
    assert major_part(gamma, 0.05).tolist()[0] == [True, True, False]
    assert major_part(gamma, 0.4).tolist()[1] == [True, True, False]


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": 0.0}, "smoothing is 0.0; μ must be positive"),
        ({"smoothing": -1.0}, "smoothing is -1.0"),
        ({"smoothing": float("nan")}, "smoothing is nan"),
        ({"minor": "small"}, "minor is 'small'; one of keep, suppress, drop, project"),
        ({"minor_share": 1.0}, "minor_share is 1.0"),
        ({"minor_share": -0.1}, "minor_share is -0.1"),
        ({"minor_share": float("nan")}, "minor_share is nan"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    choices = {"smoothing": 1.0, "minor": "keep", "minor_share": 0.1} | options
    with pytest.raises(OptionError, match=message):
        check_spectral_options(**choices)
    with pytest.raises(OptionError, match=message):
        trace_gradient(gates(3, 3), **choices)


def test_options_inside_their_range_are_taken():
    for minor in MINORS:
        check_spectral_options(1e-12, minor, 0.0)


def gates_like_a_run(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Mostly open matrices with smooth and pixel-wise closing, as feedback leaves them."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(count, height, 1, generator=generator)
    columns = torch.rand(count, 1, width, generator=generator)
    noise = torch.rand(count, height, width, generator=generator)
    return (0.4 + rows * columns + 0.5 * (noise - 0.5)).clamp(0, 1)


@pytest.mark.parametrize("size", [(7, 7), (14, 14), (28, 28), (13, 29), (56, 9), (1, 8), (8, 1)])
@pytest.mark.parametrize("options", [{"rank": 1}, {"rank": 3}, {"minor_share": 0.1}])
@pytest.mark.parametrize("minor", ["keep", "suppress", "drop", "project"])
def test_the_fast_solver_takes_the_reference_step(size, options, minor):
    z = gates_like_a_run(16, *size)
    fast = trace_gradient(z, smoothing=1.0, minor=minor, solver="fast", **options)
    reference = trace_gradient(z.double(), smoothing=1.0, minor=minor, solver="svd", **options)
    assert (fast - reference).norm() / reference.norm() < 1e-3
    fast = truncate(z, solver="fast", **options)
    reference = truncate(z.double(), solver="svd", **options)
    assert (fast - reference).norm() / reference.norm() < 1e-3


@pytest.mark.parametrize("rank", [1, None])
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1.0, 1e12])
@pytest.mark.parametrize(
    "z",
    [
        torch.zeros(2, 5, 4),
        torch.ones(2, 5, 4),
        torch.ones(1, 9),
        torch.linspace(0, 1, 9)[:, None],
        torch.linspace(0, 1, 5)[:, None] * torch.linspace(1, 0, 4),
        torch.eye(5),
    ],
)
def test_the_fast_solver_at_the_edges(z, scale, rank):
    z = z * scale
    fast = trace_gradient(z, smoothing=1.0, minor="suppress", rank=rank, solver="fast")
    assert fast.isfinite().all()
    if not torch.equal(z, torch.eye(5) * scale):  # five equal singular values have no leading one
        reference = trace_gradient(z.double(), smoothing=1.0, minor="suppress", rank=rank)
        # z - u(γvᵀ) cancels where γ² is far above μ. What is left is the rounding of sums of nine terms.
        rounding = 16 * torch.finfo(z.dtype).eps * scale
        assert torch.allclose(fast.double(), reference, rtol=1e-4, atol=rounding)


@pytest.mark.parametrize("minor", ["suppress", "drop"])
def test_the_fast_step_is_the_same_however_gates_lie_in_memory(minor):
    z = gates_like_a_run(6, 5, 9).view(2, 3, 5, 9)
    options = {"smoothing": 1.0, "minor": minor, "rank": 1, "solver": "fast"}
    across = trace_gradient(z.contiguous(memory_format=torch.channels_last), **options)
    assert across.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(across, trace_gradient(z, **options), atol=1e-6)


def test_the_leading_pair_of_two_close_singular_values():
    """γ = 0.947 and 0.718: six unshifted power iterations from the same start are off by 0.017."""
    z = torch.tensor([[0.925, 0.075], [0.06, 0.74]])
    fast = trace_gradient(z, smoothing=1.0, minor="drop", rank=1, solver="fast")
    exact = trace_gradient(z.double(), smoothing=1.0, minor="drop", rank=1)
    assert (fast - exact).norm() / exact.norm() < 2e-3


def test_any_channel_of_channels_last_gates_may_have_two_close_singular_values():
    easy = torch.ones(5, 4)
    close = torch.zeros(5, 4)
    close[:3, :2], close[3:, 2:] = 0.8, 0.96  # γ² is 3.84 and 3.6864
    z = torch.stack([torch.stack([easy, close, easy]), torch.stack([easy, easy, close])])
    fast = spectral.leading_pair(z.contiguous(memory_format=torch.channels_last))
    U, gamma, Vh = torch.linalg.svd(z.double(), full_matrices=False)
    exact = gamma[..., :1, None] * U[..., :1] @ Vh[..., :1, :]
    assert torch.allclose((fast[0] * fast[1]).double(), exact, atol=1e-5)


def two_blocks(ratio: float, count: int) -> torch.Tensor:
    """Gates (count, 9, 8) of two coherent parts whose singular values have about that ratio, and a little noise."""
    noise = torch.rand(count, 9, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    z = 0.02 * noise
    z[:, :5, :4] += 0.9
    z[:, 5:, 4:] += 0.9 * ratio * (20 / 16) ** 0.5
    return z.clamp(0, 1)


@pytest.mark.parametrize("ratio", [0.7, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("decomposes", [True, False])
def test_close_singular_values_get_more_iterations_before_a_decomposition(ratio, decomposes, monkeypatch):
    def undecomposed(_):
        pytest.fail("decomposed though more iterations would do")

    z = two_blocks(ratio, spectral.MIN_ITERATED)
    exact = trace_gradient(z, smoothing=1.0, minor="suppress", rank=1)
    if not decomposes:
        monkeypatch.setattr(spectral, "svd", undecomposed)
    fast = trace_gradient(z.float(), smoothing=1.0, minor="suppress", rank=1, solver="fast")
    assert (fast - exact).norm() / exact.norm() < 1e-3


def test_singular_values_that_no_iteration_tells_apart_are_decomposed(monkeypatch):
    decomposed = []
    svd = spectral.svd
    monkeypatch.setattr(spectral, "svd", lambda z: decomposed.append(len(z)) or svd(z))
    z = torch.diag(torch.linspace(1.0, 0.99, 12, dtype=torch.float64))[None]
    exact = svd(z)
    u, gamma_v = spectral.leading_pair(torch.cat([z.repeat(spectral.MIN_ITERATED, 1, 1), torch.ones_like(z)]))
    assert decomposed[-1] == spectral.MIN_ITERATED
    assert torch.allclose((u * gamma_v)[0], exact[0][0, :, :1] * exact[2][0, :1], atol=1e-12)


def test_rank_and_solver_out_of_range():
    with pytest.raises(OptionError, match="rank is 0"):
        trace_gradient(torch.ones(3, 3), smoothing=1.0, rank=0)
    with pytest.raises(OptionError, match="solver is 'quick'"):
        trace_gradient(torch.ones(3, 3), smoothing=1.0, solver="quick")


@pytest.mark.parametrize("minor", ["keep", "suppress"])
def test_where_eigenvectors_do_not_converge_the_full_decomposition_serves(minor, monkeypatch):
    def fails(_):
        raise torch.linalg.LinAlgError("linalg.eigh: the algorithm failed to converge")

    z = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(5))
    expected = trace_gradient(z, smoothing=0.1, minor=minor, solver="svd")
    monkeypatch.setattr(torch.linalg, "eigh", fails)
    assert torch.equal(trace_gradient(z, smoothing=0.1, minor=minor, solver="fast"), expected)
