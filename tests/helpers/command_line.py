"""The command line in this process, for tests."""

NETWORKS = """
import torch
from torch import nn

def net(classes=5, activation=nn.ReLU):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=8), activation(), nn.Conv2d(4, 8, 3, stride=2), activation(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )

def imagenet():
    return net(1000)

def smooth():
    return net(activation=nn.Tanh)

def broken():
    raise RuntimeError("no such luck")

def overflowing():
    made = net()
    made[-1].bias.data.fill_(torch.inf)
    return made
"""


class Ran:
    """What a run of the program left: exit code, lines of standard output and of standard error."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out.splitlines(), err.splitlines()


def refused(ran, *parts):
    """Exit code 1, nothing on standard output, and one line that has all of ``parts``."""
    assert ran.code == 1
    assert ran.out == []
    assert len(ran.err) == 1
    assert all(part in ran.err[0] for part in parts), ran.err[0]
    return True
