"""The attention matrices of a transformer: seen in a pass of a frozen network, and on the way of its gradients.

Most networks never show these matrices: one fused function makes them and uses them. So inside the ``with``, such a
function is written out: its matrix becomes a tensor of its own, to which autograd has a gradient.
"""

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from looktwice.errors import ModelError

_ATEN = torch.ops.aten

_SOFTMAX: frozenset[Callable[..., Any]] = frozenset(
    (F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax, _ATEN.softmax.int, _ATEN._softmax.default)
)

_FUSED: frozenset[Callable[..., Any]] = frozenset(
    (F.scaled_dot_product_attention, _ATEN.scaled_dot_product_attention.default)
)

_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


class MatricesMode(TorchFunctionMode):
    """Keeps every attention matrix that the network makes inside the ``with``.

    They are what a softmax over the last axis of three or more makes, and what
    ``F.scaled_dot_product_attention`` and ``nn.MultiheadAttention`` make unseen. torch's own fast paths of transformer
    layers are off under a mode like this one.

    Attributes:
        matrices: in call order, with heads: mostly (N, heads, T, T). Each one requires a gradient.
        in_turn: whether each is computed from the one before it. Where autograd is off, this is taken for granted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.matrices: list[Tensor] = []
        self.in_turn = True

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FUSED:
            return self._attend(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head(_MULTI_HEAD.bind(*args, **kwargs).arguments)
        made = func(*args, **kwargs)
        if func in _SOFTMAX and made.ndim > 2:
            axis = args[1] if len(args) > 1 else kwargs.get("dim")
            if axis in (-1, made.ndim - 1):
                return self._keep(made).clone()  # a network may write on it
        return made

    def _keep(self, matrix: Tensor) -> Tensor:
        if self.matrices and torch.is_grad_enabled():
            self.in_turn = self.in_turn and _is_computed_from(matrix, self.matrices[-1])
        self.matrices.append(matrix if matrix.requires_grad else matrix.requires_grad_())
        return matrix

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """``F.scaled_dot_product_attention`` written out, with the same arguments."""
        if enable_gqa:
            key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
        logits = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.mT
        if is_causal:
            attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        if attn_mask is not None:
            is_kept = attn_mask.dtype == torch.bool
            logits = logits.masked_fill(~attn_mask, -torch.inf) if is_kept else logits + attn_mask
        matrix = self._keep(logits.softmax(-1))
        return F.dropout(matrix, dropout_p) @ value

    def _multi_head(self, call: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """``nn.MultiheadAttention`` written out: (T, N, E) → (T, N, E), and its mean matrix if that is wanted."""
        query: Tensor = call["query"]
        others = [call.get(name) for name in ("bias_k", "bias_v", "static_k", "static_v")]
        if query.ndim != 3 or call["add_zero_attn"] or any(other is not None for other in others):
            raise ModelError(
                "attention rollout needs attention among tokens alone; this network's nn.MultiheadAttention has no "
                "batch axis, or adds keys of its own (add_bias_kv, add_zero_attn)"
            )
        tokens = (query, call["key"], call["value"])
        q, k, v = (
            F.linear(each, weight, bias).reshape(*each.shape[:2], call["num_heads"], -1).permute(1, 2, 0, 3)
            for each, weight, bias in zip(tokens, *_projections(call), strict=True)
        )
        attended = self._attend(q, k, v, _mask(call, len(q)))
        output = F.linear(attended.permute(2, 0, 1, 3).flatten(2), call["out_proj_weight"], call["out_proj_bias"])
        if not call.get("need_weights", True):
            return output, None
        weights = self.matrices[-1]
        return output, weights.mean(1) if call.get("average_attn_weights", True) else weights


def _is_computed_from(tensor: Tensor, earlier: Tensor) -> bool:
    """Whether autograd finds a way from a tensor back to an earlier one."""
    waiting, seen = [tensor.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node is earlier.grad_fn or getattr(node, "variable", None) is earlier:
            return True
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return False


def _projections(call: dict[str, Any]) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """The weights and the biases that make queries, keys and values."""
    bias = call["in_proj_bias"]
    biases = (None, None, None) if bias is None else bias.chunk(3)
    if call.get("use_separate_proj_weight", False):
        return (call["q_proj_weight"], call["k_proj_weight"], call["v_proj_weight"]), biases
    return call["in_proj_weight"].chunk(3), biases


def _mask(call: dict[str, Any], batch: int) -> Tensor | None:
    """What is added to the logits (N, heads, T, T) of an ``nn.MultiheadAttention``: -∞ where its masks are true."""
    masks = []
    if call.get("attn_mask") is not None:
        mask: Tensor = call["attn_mask"]
        masks.append(mask.reshape(batch, -1, *mask.shape[1:]) if mask.ndim == 3 else mask)
    if call.get("key_padding_mask") is not None:
        masks.append(call["key_padding_mask"][:, None, None])
    added = [
        torch.zeros(mask.shape, dtype=call["query"].dtype, device=mask.device).masked_fill(mask, -torch.inf)
        if mask.dtype == torch.bool
        else mask
        for mask in masks
    ]
    return cast(Tensor, sum(added)) if added else None
