"""A file with methods of one's own, for tests."""

OWN_METHODS = '''
from dataclasses import replace

from looktwice.attention import METHODS, Label, Method
from looktwice.attention.methods import FINISH_OPTIONS


def brightness(network, images, targets, *, power):
    """How far a pixel is from the mean colour: a map (N, H, W)."""
    return images.abs().sum(1) ** power


BRIGHT = Method(
    label=Label("Brightness", "Bright", "#123456"),
    summary="distance from the mean colour",
    source="mine",
    options={"power": 1.0, **FINISH_OPTIONS},
    attribute=brightness,
)
SHORT = replace(METHODS["feedback"], options={**METHODS["feedback"].options, "steps": 1})
gradient = BRIGHT
center_box = BRIGHT
CODED = replace(BRIGHT, options={**BRIGHT.options, "code": 1})
NUMBER = 3
'''
