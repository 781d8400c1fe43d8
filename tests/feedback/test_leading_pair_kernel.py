"""The power iteration as one kernel: on a GPU, or in Triton's interpreter (TRITON_INTERPRET=1)."""

import os

import pytest
import torch

from looktwice.feedback import leading_pair

if not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
    pytest.skip("there is neither a GPU nor Triton's interpreter", allow_module_level=True)
pytest.importorskip("triton")

from looktwice.feedback import leading_pair_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [(2, 5, 14, 14), (1, 33, 7, 7), (2, 3, 9, 13), (1, 2, 28, 28), (1, 4, 1, 1), (1, 2, 64, 64), (3, 1, 1, 7)]


def gates(shape: tuple[int, ...], layout: torch.memory_format) -> torch.Tensor:
    """Random gates; among them closed ones, constant ones, tiny ones and two equal singular values."""
    torch.manual_seed(0)
    z = torch.rand(shape)
    z[0, 0] = 0
    if shape[1] > 2:
        z[0, 1] = 1
        z[0, 2] *= 1e-8
    if shape[1] > 4:
        z[0, 3] = torch.eye(*shape[2:])
    return z.to(DEVICE).contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_finds_what_sums_of_products_find(shape, layout):
    z = gates(shape, layout)
    plain = leading_pair._Matrices(z, 2, 3)
    expected = plain.power_iteration(leading_pair.SHIFTS)
    unsettled = plain.unsettled(*expected)[..., 0, 0]
    u, gamma_v, found = leading_pair_kernel.power_iteration(z, leading_pair.SHIFTS, leading_pair.UNSETTLED)
    assert torch.equal(found, unsettled)
    assert torch.allclose(u, expected[0], atol=1e-5)
    assert torch.allclose(gamma_v, expected[1], atol=1e-4)


def test_what_does_not_fit_is_left_to_the_other_way():
    assert leading_pair_kernel.fits(torch.ones(1, 1, 64, 64))
    assert not leading_pair_kernel.fits(torch.ones(1, 1, 65, 64))
    assert not leading_pair_kernel.fits(torch.ones(1, 1, 8, 8).double())
    assert not leading_pair_kernel.fits(torch.ones(5, 8, 8))


@pytest.mark.skipif(DEVICE == "cpu", reason="the kernel is only asked on a GPU")
def test_a_gpu_takes_it(monkeypatch: pytest.MonkeyPatch):
    z = gates((2, 5, 14, 14), torch.contiguous_format)
    assert leading_pair._kernel() is leading_pair_kernel
    found = leading_pair.leading_pair(z)
    monkeypatch.setattr(leading_pair, "_kernel", lambda: None)
    for ours, plain in zip(found, leading_pair.leading_pair(z), strict=True):
        assert torch.allclose(ours, plain, atol=1e-4)
