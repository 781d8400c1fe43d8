"""The method once more, slowly: NumPy loops, float64, a full singular value decomposition for every single channel.

Nothing here imports looktwice. Networks are run one image at a time; their ReLUs are either written out (``Branching``,
``Clamped``) or replaced by patching ``torch.nn.functional`` (torchvision's), never by a TorchFunctionMode; a gate is
the ordinary product y = relu(x) * z, left to autograd.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from networks import Branching, Clamped

Array = NDArray[np.float64]
Rule = Callable[[int, Tensor, float | None], Tensor]
"""(index of the ReLU call, its input, its upper clamp) → its output."""
Scores = Callable[[Tensor, Rule], Tensor]
"""Images and a rule for every ReLU call → class scores."""


# ---- networks whose ReLU calls are handed to a rule -------------------------------------------------------------


def branching_scores(net: Branching) -> Scores:
    def scores(images: Tensor, rule: Rule) -> Tensor:
        h = rule(0, net.norm(net.stem(images)), None)
        a = rule(1, net.left(h), None)
        b = rule(2, net.right(h), None)
        joined = torch.cat([a, b], 1)
        r = rule(3, net.join(joined), None)
        r = rule(4, r + joined, None)
        r = rule(5, net.join(r), None)
        v = F.adaptive_avg_pool2d(r, 2).flatten(1)
        return net.head(rule(6, net.hidden(v), None))

    return scores


def clamped_scores(net: Clamped) -> Scores:
    def scores(images: Tensor, rule: Rule) -> Tensor:
        h = rule(0, 8 * net.first(images), 6.0)
        h = rule(1, 2 * net.second(h), 6.0)
        h = rule(2, 2 * net.second(h), 4.0)
        h = rule(3, 2 * net.second(h), 2.0)
        return net.head(h.mean((2, 3)))

    return scores


def patched_scores(net: nn.Module) -> Scores:
    """For networks that reach their ReLUs through ``torch.nn.functional`` and use what the call returns."""

    def scores(images: Tensor, rule: Rule) -> Tensor:
        index = itertools.count()

        def relu(x: Tensor, inplace: bool = False) -> Tensor:
            return rule(next(index), x, None)

        def hardtanh(x: Tensor, low: float, high: float, inplace: bool = False) -> Tensor:
            assert low == 0
            return rule(next(index), x, high)

        with mock.patch.multiple(F, relu=relu, hardtanh=hardtanh):
            return net(images)

    return scores


def plain_relu(pre: Tensor, cap: float | None, saturation: str = "exact") -> Tensor:
    x = torch.where(pre > 0, pre, torch.zeros_like(pre))
    if cap is None:
        return x
    if saturation == "exact":
        return torch.where(x < cap, x, torch.full_like(x, cap))
    return x - torch.where(x > cap, x - cap, torch.zeros_like(x)).detach()


def relu_outputs(scores: Scores, images: Tensor) -> list[Tensor]:
    """x of every ReLU call (N, ...), ungated."""
    found: list[Tensor] = []

    def rule(index: int, pre: Tensor, cap: float | None) -> Tensor:
        assert index == len(found)
        found.append(plain_relu(pre, cap).detach())
        return found[-1]

    with torch.no_grad():
        scores(images, rule)
    return found


# ---- the class gradient -----------------------------------------------------------------------------------------


def class_gradient(
    scores: Scores,
    images: Tensor,
    targets: list[int],
    gates: dict[int, Tensor] | None = None,
    *,
    guided: bool,
    saturation: str = "exact",
) -> Tensor:
    """∂S_k/∂I image by image; guided by a tensor hook behind every gate that cuts what is negative."""
    rows = []
    for i in range(len(images)):
        leaf = images[i : i + 1].clone().requires_grad_()

        def rule(index: int, pre: Tensor, cap: float | None, i: int = i) -> Tensor:
            y = plain_relu(pre, cap, saturation)
            if gates is not None and index in gates:
                y = y * gates[index][i : i + 1]
            if guided:
                y.register_hook(lambda dy: torch.where(dy > 0, dy, torch.zeros_like(dy)))
            return y

        scores(leaf, rule)[0, targets[i]].backward()
        assert leaf.grad is not None
        rows.append(leaf.grad)
    return torch.cat(rows)


# ---- the trace norm ---------------------------------------------------------------------------------------------


def is_major(gamma: Array, minor_share: float, rank: int | None = None) -> list[bool]:
    """Leading singular values are taken until they hold 1 - minor_share of Σγ², or until there are ``rank``."""
    if rank is not None:
        return [i < rank for i in range(len(gamma))]
    total, held, major = float((gamma**2).sum()), 0.0, []
    for value in gamma:
        major.append(held < (1 - minor_share) * total)
        held += float(value) ** 2
    return major


def polar_step(matrix: Array, smoothing: float, minor: str, minor_share: float, rank: int | None = None) -> Array:
    """g⁻¹ z of one channel, singular triple by singular triple, and the literal Eq. 11 with its erratum mended."""
    U, gamma, Vh = np.linalg.svd(matrix)
    step = np.zeros_like(matrix)
    for i, major in enumerate(is_major(gamma, minor_share, rank)):
        gamma_of_weight = gamma[i]
        if not major and minor == "suppress":
            gamma_of_weight = 0.0
        if not major and minor in ("drop", "project"):
            continue
        step += gamma[i] / np.sqrt(gamma_of_weight**2 + smoothing) * np.outer(U[:, i], Vh[i])
    return step


def truncated(matrix: Array, minor_share: float, rank: int | None = None) -> Array:
    U, gamma, Vh = np.linalg.svd(matrix)
    kept = np.zeros_like(matrix)
    for i, major in enumerate(is_major(gamma, minor_share, rank)):
        if major:
            kept += gamma[i] * np.outer(U[:, i], Vh[i])
    return kept


def smoothed_trace_norm(matrix: Array, smoothing: float) -> float:
    """Σ √(γ² + μ) over the singular values."""
    return sum(float(np.sqrt(gamma**2 + smoothing)) for gamma in np.linalg.svd(matrix, compute_uv=False))


# ---- feedback ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    gates: dict[int, Tensor]
    scores: Tensor
    closed: list[tuple[int, int]]
    evidence: dict[int, Tensor]


def _score_and_gradients(
    scores: Scores,
    image: Tensor,
    target: int,
    gates: dict[int, Array],
    saturation: str,
    objective: str = "score",
    guided: bool = False,
) -> tuple[float, dict[int, Array]]:
    leaves = {index: torch.from_numpy(z)[None].clone().requires_grad_() for index, z in gates.items()}

    def rule(index: int, pre: Tensor, cap: float | None) -> Tensor:
        x = plain_relu(pre, cap, saturation)
        if guided and x.requires_grad:
            x.register_hook(lambda dx: torch.where(dx > 0, dx, torch.zeros_like(dx)))
        return x * leaves[index] if index in leaves else x

    every_score = scores(image, rule)[0]
    score = every_score[target]
    rivals = sorted(
        (value for k, value in enumerate(every_score) if k != target), key=lambda value: value.item(), reverse=True
    )[:5]
    raised = {
        "score": score,
        "contrast": score - sum(rivals) / len(rivals),
        "log_probability": score - torch.logsumexp(every_score, 0),
    }[objective]
    raised.backward()
    gradients = {}
    for index, leaf in leaves.items():
        assert leaf.grad is not None
        gradients[index] = leaf.grad[0].numpy()
    return score.item(), gradients


def _every_image(
    scores: Scores,
    images: Tensor,
    targets: list[int],
    layers: list[int] | None,
    steps: int,
    saturation: str,
    step: Callable[[int, int, Array, Array], Array],
    **passes: Any,
) -> Found:
    shapes = {i: x.shape[1:] for i, x in enumerate(relu_outputs(scores, images)) if layers is None or i in layers}
    gates_of_images, scores_of_images, evidence_of_images, closed = [], [], [], []
    for i in range(len(images)):
        gates = {index: np.ones(tuple(shape)) for index, shape in shapes.items()}
        trajectory = []
        kept: set[int] = set()
        evidence: dict[int, Array] = {}
        for _ in range(steps):
            score, gradients = _score_and_gradients(scores, images[i : i + 1], targets[i], gates, saturation, **passes)
            evidence = evidence or gradients
            trajectory.append(score)
            kept = set()
            for index, z in gates.items():
                new = np.minimum(np.maximum(step(i, index, z, gradients[index]), 0.0), 1.0)
                if new.max() > 0:
                    gates[index] = new
                else:
                    kept.add(index)
        trajectory.append(_score_and_gradients(scores, images[i : i + 1], targets[i], gates, saturation, **passes)[0])
        gates_of_images.append(gates)
        evidence_of_images.append(evidence)
        scores_of_images.append(trajectory)
        closed += [(i, index) for index in sorted(kept)]
    return Found(
        {index: torch.stack([torch.from_numpy(gates[index]) for gates in gates_of_images]) for index in shapes},
        torch.tensor(scores_of_images, dtype=torch.float64),
        closed,
        {
            index: torch.stack([torch.from_numpy(evidence[index]) for evidence in evidence_of_images])
            for index in (shapes if steps else ())
        },
    )


def feedback(
    scores: Scores,
    images: Tensor,
    targets: list[int],
    *,
    trace_weight: float,
    steps: int,
    step_size: float,
    smoothing: float,
    minor: str,
    minor_share: float,
    gradient_scale: str,
    saturation: str = "exact",
    layers: list[int] | None = None,
    rank: int | None = None,
    fixed_scale: bool = False,
    **passes: Any,
) -> Found:
    """z ← clip(z + α (∂S/∂z / unit - λ g⁻¹z · √(HW)), 0, 1) with μ HW for μ; both only where there is a unit."""

    first_units: dict[tuple[int, int], float] = {}

    def step(image: int, index: int, z: Array, dS_dz: Array) -> Array:
        magnitudes = np.abs(dS_dz)
        unit = {"none": 1.0, "mean": float(magnitudes.mean()), "max": float(magnitudes.max())}[gradient_scale]
        if fixed_scale:
            unit = first_units.setdefault((image, index), unit)
        ascent = dS_dz / unit if unit > 0 else dS_dz
        if trace_weight == 0 or z.ndim != 3:
            return z + step_size * ascent
        new = np.empty_like(z)
        for channel, matrix in enumerate(z):
            start, reading = (truncated(matrix, minor_share, rank), "keep") if minor == "project" else (matrix, minor)
            if gradient_scale == "none":
                penalty = polar_step(start, smoothing, reading, minor_share, rank)
            else:
                penalty = polar_step(start, smoothing * matrix.size, reading, minor_share, rank) * np.sqrt(matrix.size)
            new[channel] = start + step_size * (ascent[channel] - trace_weight * penalty)
        return new

    return _every_image(scores, images, targets, layers, steps, saturation, step, **passes)


def closed_form(scores: Scores, images: Tensor, targets: list[int], *, steps: int, saturation: str = "exact") -> Found:
    """z = 1 where x ∂S/∂y > 0, else 0."""
    return _every_image(
        scores, images, targets, None, steps, saturation, lambda image, index, z, dS_dz: np.where(dS_dz > 0, 1.0, 0.0)
    )


# ---- a network with every derivative written by hand -------------------------------------------------------------


@dataclass(frozen=True)
class ByHand:
    """convolution → ReLU → gate → convolution → ReLU → gate → linear, for one image; no autograd anywhere."""

    weights: tuple[Array, Array]
    biases: tuple[Array, Array]
    head: Array
    cap: float | None = None

    def gradients(
        self, image: Array, target: int, gates: tuple[Array, Array], guided: bool
    ) -> tuple[float, Array, list[Array]]:
        """The score, ∂S/∂I, and ∂S/∂z = x ⊙ ∂S/∂y of both gates."""
        masks, outputs, y = [], [], image
        for weight, bias, z in zip(self.weights, self.biases, gates, strict=True):
            pre = correlate(y, weight) + bias[:, None, None]
            mask = np.zeros_like(pre)
            x = np.zeros_like(pre)
            for at in np.ndindex(pre.shape):
                if pre[at] > 0:
                    saturated = self.cap is not None and pre[at] >= self.cap
                    x[at] = self.cap if saturated else pre[at]
                    mask[at] = 0.0 if saturated else 1.0
            masks.append(mask)
            outputs.append(x)
            y = x * z
        score = float((self.head[target] * y.ravel()).sum())
        dy = self.head[target].reshape(y.shape)
        dz: list[Array] = []
        for weight, z, mask, x in reversed(list(zip(self.weights, gates, masks, outputs, strict=True))):
            dz.insert(0, x * dy)
            let_through = mask * (dy > 0) if guided else mask
            dy = correlate_back(dy * z * let_through, weight)
        return score, dy, dz


def correlate(x: Array, weight: Array) -> Array:
    """(I, H, W) with (O, I, h, w) → (O, H-h+1, W-w+1), as ``conv2d`` without padding."""
    outputs, inputs, h, w = weight.shape
    y = np.zeros((outputs, x.shape[1] - h + 1, x.shape[2] - w + 1))
    for o, row, column in np.ndindex(y.shape):
        for i, dr, dc in np.ndindex(inputs, h, w):
            y[o, row, column] += weight[o, i, dr, dc] * x[i, row + dr, column + dc]
    return y


def correlate_back(dy: Array, weight: Array) -> Array:
    """The derivative of ``correlate`` with respect to x."""
    _, inputs, h, w = weight.shape
    dx = np.zeros((inputs, dy.shape[1] + h - 1, dy.shape[2] + w - 1))
    for o, row, column in np.ndindex(dy.shape):
        for i, dr, dc in np.ndindex(inputs, h, w):
            dx[i, row + dr, column + dc] += weight[o, i, dr, dc] * dy[o, row, column]
    return dx


# ---- the map ----------------------------------------------------------------------------------------------------


def kept_evidence_map(evidence: list[Array], gates: list[Array], size: tuple[int, int]) -> Array:
    """Geometric mean of the resolutions, each the mean of its layers' Σ over channels of z · max(evidence, 0)."""
    resolutions: dict[tuple[int, ...], list[Array]] = {}
    for brought, z in zip(evidence, gates, strict=True):
        heat = np.zeros(brought.shape[1:])
        for channel, row, column in np.ndindex(brought.shape):
            heat[row, column] += z[channel, row, column] * max(brought[channel, row, column], 0.0)
        resolutions.setdefault(heat.shape, []).append(heat / heat.max() if heat.max() > 0 else heat)
    means = [sum(heats) / len(heats) for heats in resolutions.values()]
    shown = [enlarged(mean / mean.max(), size) for mean in means if mean.max() > 0]
    total = np.zeros(size)
    for place in np.ndindex(size):
        values = [heat[place] for heat in shown]
        total[place] = np.exp(np.mean(np.log(values))) if shown and min(values) > 0 else 0.0
    return total / total.max() if total.max() > 0 else total


def class_evidence(evidence: list[Array], gates: list[Array], size: tuple[int, int]) -> Array:
    """Mean over layers of [Σ z max(e, 0) − κ Σ max(−e, 0)]₊ / its maximum, κ = min(1, kept / against)."""
    layers = []
    for brought, z in zip(evidence, gates, strict=True):
        kept, against = np.zeros(brought.shape[1:]), np.zeros(brought.shape[1:])
        for channel, row, column in np.ndindex(brought.shape):
            e = brought[channel, row, column]
            if e > 0:
                kept[row, column] += z[channel, row, column] * e
            else:
                against[row, column] -= e
        balance = min(1.0, kept.sum() / against.sum()) if against.sum() > 0 else 1.0
        heat = np.maximum(kept - balance * against, 0.0)
        layers.append(enlarged(heat / heat.max() if heat.max() > 0 else heat, size))
    mean = sum(layers) / len(layers)
    return mean / mean.max() if mean.max() > 0 else mean


def affinity(outputs: list[Array]) -> Array:
    """(C, h, w) each → (P, P): squared mean cosine of centred features where positive, rows' sums 1."""
    places = list(np.ndindex(outputs[0].shape[1:]))
    weights = np.zeros((len(places), len(places)))
    for i, j in np.ndindex(weights.shape):
        cosines = []
        for output in outputs:
            centred = output - output.mean((1, 2), keepdims=True)
            one, other = centred[(slice(None), *places[i])], centred[(slice(None), *places[j])]
            lengths = np.linalg.norm(one) * np.linalg.norm(other)
            cosines.append(one @ other / lengths if lengths > 1e-12 else 0.0)
        weights[i, j] = 1.0 if i == j else max(np.mean(cosines), 0.0) ** 2
    return weights / weights.sum(1, keepdims=True)


def carried_over(heat: Array, weights: Array, grid: tuple[int, int]) -> Array:
    """(H, W) of the grid's size or a multiple of it → (H, W): each place's mean energy of those that look like it."""
    rows, columns = heat.shape[0] // grid[0], heat.shape[1] // grid[1]
    energy = (heat / heat.max()) ** 2 if heat.max() > 0 else heat
    pooled = [energy[r * rows : (r + 1) * rows, c * columns : (c + 1) * columns].mean() for r, c in np.ndindex(grid)]
    return enlarged((weights @ np.array(pooled)).reshape(grid), heat.shape)


def cumulative_shares(heat: Array) -> Array:
    """For each pixel the squares of all that are no larger, added up, as a share of all squares."""
    result = np.zeros(heat.shape)
    for place in np.ndindex(heat.shape):
        result[place] = sum(heat[other] ** 2 for other in np.ndindex(heat.shape) if heat[other] <= heat[place])
    return result / (heat**2).sum()


def enlarged(heat: Array, size: tuple[int, int]) -> Array:
    """Bilinear between the centres of pixels, constant beyond the outermost."""
    result = np.zeros(size)
    for row, column in np.ndindex(size):
        places = []
        for at, small, large in ((row, heat.shape[0], size[0]), (column, heat.shape[1], size[1])):
            place = min(max((at + 0.5) * small / large - 0.5, 0.0), small - 1.0)
            low = int(place)
            places.append((low, min(low + 1, small - 1), place - low))
        (top, bottom, down), (left, right, along) = places
        upper = heat[top, left] * (1 - along) + heat[top, right] * along
        lower = heat[bottom, left] * (1 - along) + heat[bottom, right] * along
        result[row, column] = upper * (1 - down) + lower * down
    return result


def attention_map(gradient: Array, channels: str, blur: float) -> Array:
    """(C, H, W) → (H, W): magnitude, maximum 1, a Gaussian average over what lies inside the map, maximum 1."""
    C, H, W = gradient.shape
    heat = np.zeros((H, W))
    for row, column in np.ndindex(H, W):
        magnitudes = [abs(gradient[c, row, column]) for c in range(C)]
        heat[row, column] = max(magnitudes) if channels == "max" else sum(magnitudes)
    sigma = blur * min(H, W)
    if heat.max() == 0 or sigma == 0:
        return heat / heat.max() if heat.max() > 0 else heat
    radius = max(1, round(3 * sigma))
    smooth = np.zeros((H, W))
    for row, column in np.ndindex(H, W):
        total = weight_sum = 0.0
        for r in range(max(0, row - radius), min(H, row + radius + 1)):
            for c in range(max(0, column - radius), min(W, column + radius + 1)):
                weight = np.exp(-((r - row) ** 2 + (c - column) ** 2) / (2 * sigma**2))
                total += weight * heat[r, c]
                weight_sum += weight
        smooth[row, column] = total / weight_sum
    return smooth / smooth.max()
