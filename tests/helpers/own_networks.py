"""Small networks, for tests."""

import torch
from torch import nn


def small_net(classes=3):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


SMALL_NET = """
from torch import nn

def net(classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )

def thousand():
    return net(1000)

def number():
    return 7

made = net()

def broken():
    raise RuntimeError("first line\\nsecond line")

def leaves():
    raise SystemExit(3)

def gray():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
"""
