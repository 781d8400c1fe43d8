"""Small networks with every habit that makes gating hard, and what a network looks like from outside."""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn


class Branching(nn.Module):
    """Seven ReLU calls: functional in place with the old name used on, one module four times, a method, a vector one.

    Its twin without any ReLU call is ``reference.branching_scores``.
    """

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.left = nn.Conv2d(6, 4, 3, stride=2, padding=1)
        self.right = nn.Conv2d(6, 4, 1, stride=2)
        self.join = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.hidden = nn.Linear(8 * 4, 7)
        self.head = nn.Linear(7, classes)

    def forward(self, images: Tensor) -> Tensor:
        h = self.norm(self.stem(images))
        F.relu(h, inplace=True)
        a = self.relu(self.left(h))
        b = F.relu(self.right(h))
        joined = torch.cat([a, b], 1)
        r = self.relu(self.join(joined))
        r = (r + joined).relu_()
        r = self.relu(self.join(r))
        v = self.dropout(F.adaptive_avg_pool2d(r, 2).flatten(1))
        return self.head(torch.relu(self.hidden(v)))


class Clamped(nn.Module):
    """Four calls with an upper clamp, all of which saturate somewhere: module and functional, in place or not."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.relu6 = nn.ReLU6(inplace=True)
        self.hardtanh = nn.Hardtanh(0, 4)
        self.head = nn.Linear(6, classes)

    def forward(self, images: Tensor) -> Tensor:
        h = self.relu6(8 * self.first(images))
        h = F.relu6(2 * self.second(h))
        h = self.hardtanh(2 * self.second(h))
        h = F.hardtanh(2 * self.second(h), 0.0, 2.0, inplace=True)
        return self.head(h.mean((2, 3)))


class Tanh(nn.Module):
    """Nothing to gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.tanh(F.hardtanh(self.conv(images))).mean((2, 3)))


class Plain(nn.Module):
    """Convolution, ReLU, mean, linear: the least that works, to be wrapped and bent by the tests."""

    def __init__(self, classes: int = 4, channels: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(channels, classes)

    def features(self, images: Tensor) -> Tensor:
        return self.relu(self.conv(images))

    def classify(self, features: Tensor) -> Tensor:
        return self.head(features.mean((2, 3)))

    def forward(self, images: Tensor) -> Any:
        return self.classify(self.features(images))


def calibrated(network: nn.Module, size: int, *, batch: int = 4) -> nn.Module:
    """The network in float64 and evaluation mode, its BatchNorm statistics those of noise: activations near one."""
    network = network.double()
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in network.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
    network.train()
    with torch.no_grad():
        network(torch.randn(batch, 3, size, size, dtype=torch.float64))
    return network.eval()


def branching() -> Branching:
    network = calibrated(Branching(), 9)
    assert isinstance(network, Branching)
    return network


def googlenet() -> nn.Module:
    network = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=12)
    return calibrated(network, 64)


def resnet50() -> nn.Module:
    return calibrated(torchvision.models.resnet50(weights=None, num_classes=12), 64)


def squeezenet() -> nn.Module:
    network = torchvision.models.squeezenet1_1(weights=None, num_classes=12)
    nn.init.ones_(network.classifier[1].bias)  # the class scores pass a ReLU as well: none may be closed
    return network.double().eval()


def pictures(count: int, height: int = 9, width: int = 8) -> Tensor:
    """Noise (count, 3, height, width) in float64."""
    return torch.randn(count, 3, height, width, dtype=torch.float64)


def scripted(network: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated, and still met
        return torch.jit.script(network)


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def outside(network: nn.Module) -> dict[str, Any]:
    """All that a caller can see of a network, as plain values: equal before and after means left as found."""
    tensors = {**dict(network.named_parameters()), **{f"buffer {k}": v for k, v in network.named_buffers()}}
    return {
        "values": {name: tensor.detach().clone().tolist() for name, tensor in tensors.items()},
        "identity": {name: (id(tensor), tensor.data_ptr()) for name, tensor in tensors.items()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "grad": {name: None if tensor.grad is None else tensor.grad.tolist() for name, tensor in tensors.items()},
        "training": {name: part.training for name, part in network.named_modules()},
        "hooks": {name: [len(getattr(part, kind)) for kind in HOOKS] for name, part in network.named_modules()},
        "attributes": {name: sorted(vars(part)) for name, part in network.named_modules()},
    }
