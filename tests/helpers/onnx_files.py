"""Small networks in ONNX files, for tests."""

import io
import logging
import warnings

import torch
from torch import nn


def small(activation=None, end=None):
    """A network of two convolutions whose images are 32 × 32 pixels; five classes."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), activation or nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), *([end] if end else [])).eval()


class Attention(nn.Module):
    """A transformer block on 8 × 8 tokens; five classes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.norm = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.wide, self.narrow, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 5)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        seen = self.norm(tokens)
        tokens = tokens + self.attention(seen, seen, seen, need_weights=False)[0]
        tokens = tokens + self.narrow(nn.functional.gelu(self.wide(self.norm(tokens))))
        return self.head(tokens.mean(1))


def export(network, file, *, opset=14, size=(32, 32), channels=3, any_number=True):
    """Writes a network with the exporter of PyTorch that needs no other package."""
    axes = {"images": {0: "n"}} if any_number else None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        images = torch.zeros(1, channels, *size)
        torch.onnx.export(
            network, (images,), buffer, opset_version=opset, dynamo=False, input_names=["images"], dynamic_axes=axes
        )
    file.write_bytes(buffer.getvalue())
    return file
