"""Small vision transformers for tests."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Transformer(nn.Module):
    """Two blocks of two heads, whose attention is called in one way or another. Its numbers are the same in all."""

    def __init__(
        self, call: str = "fused", prefix: int = 1, read: str = "class", grid: tuple[int, int] = (3, 3)
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.call, self.prefix, self.read = call, prefix, read
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.before = nn.Parameter(torch.randn(1, prefix, 8))
        self.position = nn.Parameter(0.1 * torch.randn(1, prefix + grid[0] * grid[1], 8))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, activation=F.gelu, batch_first=True, norm_first=True) for _ in range(2)
        )
        for block in self.blocks:
            nn.init.normal_(block.self_attn.in_proj_weight, std=0.8)  # looks at some tokens more than at others
        self.head = nn.Linear(8, 4)
        self.double().eval()

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT
        x = torch.cat([self.before.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            if self.call in ("layer", "encoder"):
                x = block(x)
            else:
                x = x + self.attend(block.self_attn, block.norm1(x))
                x = x + block.linear2(F.gelu(block.linear1(block.norm2(x))))
        return self.head(x[:, 0] if self.read == "class" else x[:, self.prefix :].mean(1))

    def attend(self, layer: nn.MultiheadAttention, x: Tensor) -> Tensor:
        if self.call.startswith("module"):
            return layer(x, x, x, need_weights="weights" in self.call)[0]
        heads = F.linear(x, layer.in_proj_weight, layer.in_proj_bias).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        if self.call == "fused":
            mixed = F.scaled_dot_product_attention(*heads)
        else:
            q, k, v = heads.flatten(1, 2) if self.call == "folded" else heads
            weights = (q @ k.transpose(-1, -2) / 2).softmax(dim=-1)
            mixed = (weights.mul_(1) if self.call == "in place" else weights) @ v
        return layer.out_proj(mixed.reshape(len(x), 2, -1, 4).transpose(1, 2).flatten(2))
