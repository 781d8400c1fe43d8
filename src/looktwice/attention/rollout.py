"""Attention rollout and attention relevance: maps from the attention matrices of a vision transformer.

Both multiply the matrices of all blocks. Rollout takes them as they are, so its map is the same for every class.
Relevance takes them times their gradients for a class.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from looktwice.attention.matrices import MatricesMode
from looktwice.errors import ModelError
from looktwice.gating.frozen import FrozenNetwork
from looktwice.gating.geometry import measured_parts, measured_places
from looktwice.gating.places import Place

Combine = Callable[[Sequence[Tensor], Tensor], Tensor]
"""The matrices of all blocks and the score of each image (N,) → how much each token sees of each (N, T, T)."""


def attention_rollout(network: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020) → (N, H, W), the same for every class.

    A block's matrix is Â = (mean over heads of A + I) / 2: half of what a token becomes is the token itself. The map is
    the class token's row of Â_L ⋯ Â_1. Without a class token it is the mean over the rows of the image's tokens. In
    general, it is the mean over the rows of the last tokens that the class scores are read from.

    Args:
        network: a vision transformer, in which every block attends among the same T tokens.
        images: (N, C, H, W).
        targets: they do not count.

    Raises:
        ModelError: the network makes no attention matrices, or others than (T, T), or its tokens' grid is not known.
    """
    return _map_of(network, images, targets, _rollout)


def attention_relevance(network: FrozenNetwork, images: Tensor, targets: Tensor) -> Tensor:
    """A rollout for one class (Chefer, Gur and Wolf, ICCV 2021) → (N, H, W).

    A block's matrix is Ā = mean over heads of [A ⊙ ∂S/∂A]₊. Relevance begins with R = I, and each block adds Ā R to it.
    The map is a mean over rows of R - I, as in ``attention_rollout``.

    Args:
        network: a vision transformer, in which every block attends among the same T tokens.
        images: (N, C, H, W).
        targets: class of each image, whose score is S.

    Raises:
        ModelError: as in ``attention_rollout``.
    """
    return _map_of(network, images, targets, _relevance)


def _rollout(matrices: Sequence[Tensor], scores: Tensor) -> Tensor:
    product = own = _identity(matrices[0], len(scores))
    for matrix in matrices:
        product = (_mean_over_heads(matrix.detach(), len(scores)) + own) / 2 @ product
    return product


def _relevance(matrices: Sequence[Tensor], scores: Tensor) -> Tensor:
    relevance = own = _identity(matrices[0], len(scores))
    for matrix, gradient in zip(matrices, _gradients(scores, matrices), strict=True):
        if gradient is None:
            raise ModelError(
                "no gradient reaches the attention matrices from the class scores; the forward pass must not detach"
            )
        positive = (matrix.detach() * gradient).clamp_min(0)
        relevance = relevance + _mean_over_heads(positive, len(scores)) @ relevance
    return relevance - own


def _identity(matrix: Tensor, batch: int) -> Tensor:
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand(batch, -1, -1)


def _mean_over_heads(matrix: Tensor, batch: int) -> Tensor:
    return matrix.reshape(batch, -1, *matrix.shape[-2:]).mean(1)


def _gradients(scores: Tensor, matrices: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The gradient of the scores (N,) with respect to each matrix; ``None`` where none arrives."""
    if not scores.requires_grad:
        return [None] * len(matrices)
    return torch.autograd.grad(scores.sum(), matrices, retain_graph=True, allow_unused=True)


def _map_of(network: FrozenNetwork, images: Tensor, targets: Tensor, combine: Combine) -> Tensor:
    places = measured_places(network, images)
    with MatricesMode() as seen:
        scores = network(images)
    matrices, batch = seen.matrices, len(images)
    if batch > 1 and any(matrix.ndim == 3 and len(matrix) != batch for matrix in matrices):
        # Images and heads share an axis. Only a single image's heads are known to be its own.
        singly = zip(torch.split(images, 1), torch.split(targets, 1), strict=True)
        return torch.cat([_map_of(network, image, target, combine) for image, target in singly])
    tokens = _tokens(matrices, batch)
    if not seen.in_turn:
        raise ModelError(
            f"attention rollout needs blocks one after the other, and some of the {len(matrices)} attention matrices "
            "of this network stand side by side; take another method, such as grad_cam"
        )
    place = _place(tokens, places) or _place_of_parts(network, images, tokens)
    rows = _rows_read(scores, matrices[-1], place)
    seen_from_rows = combine(matrices, scores.gather(1, targets[:, None])[:, 0])[:, rows].mean(1)
    maps = place.to_grid(place.gated_part(seen_from_rows[..., None]))
    size = (images.shape[-2], images.shape[-1])
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[:, 0]


def _tokens(matrices: Sequence[Tensor], batch: int) -> int:
    """How many tokens attend to each other: T, if all matrices are (N, heads, T, T)."""
    if not matrices:
        raise ModelError(
            "attention rollout needs a network with attention among tokens, and no attention matrix was seen in this "
            "network; take another method, such as grad_cam"
        )
    shapes = list(dict.fromkeys(tuple(matrix.shape) for matrix in matrices))
    tokens = shapes[0][-1]
    folded = [shape for shape in shapes if len(shape) > 4 or (len(shape) == 4 and shape[0] != batch)]
    if folded or any(shape[-2:] != (tokens, tokens) for shape in shapes):
        raise ModelError(
            "attention rollout needs all blocks to attend among the same tokens, with matrices (N, heads, T, T); those "
            f"of this network have windows, stages or pooled tokens: {', '.join(map(str, shapes[:3]))}"
            f"{' …' * (len(shapes) > 3)} for N = {batch}; take another method, such as grad_cam"
        )
    return tokens


def _place(tokens: int, places: Sequence[Place]) -> Place | None:
    """How these tokens lie in the image, as most outputs with as many tokens do."""
    fitting = [place for place in places if place.kind == "tokens" and place.grid and _count(place) == tokens]
    return Counter(fitting).most_common(1)[0][0] if fitting else None


def _count(place: Place) -> int:
    rows, columns = place.grid or (0, 0)
    return place.prefix + rows * columns


def _place_of_parts(network: FrozenNetwork, images: Tensor, tokens: int) -> Place:
    """As ``_place``, for a network whose activations do not show it."""
    place = _place(tokens, [output.place for output in measured_parts(network, images)])
    if place is None:
        raise ModelError(
            f"attention rollout needs tokens that are cells of a grid in the image, and the {tokens} tokens of this "
            "network do not lie like the image; take another method, such as gradient"
        )
    return place


def _rows_read(scores: Tensor, last: Tensor, place: Place) -> Tensor:
    """Which rows of the last matrix the class scores depend on: a mask (T,).

    Where no gradient tells, it is the first token's row, or all rows if no token comes before the image's.
    """
    gradient = _gradients(scores.amax(1), [last])[0]
    if gradient is not None and gradient.any():
        return gradient.reshape(-1, *last.shape[-2:]).ne(0).any(2).any(0)
    read = torch.zeros(last.shape[-1], dtype=torch.bool, device=last.device)
    read[: 1 if place.prefix else None] = True
    return read
