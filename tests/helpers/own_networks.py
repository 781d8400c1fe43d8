"""Small networks and pictures, for tests."""

import numpy as np
import torch
from PIL import Image
from torch import nn


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


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
