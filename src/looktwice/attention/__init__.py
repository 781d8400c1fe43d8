"""Attention maps: every method's way from a network, images and classes to maps."""

from looktwice.attention.api import attend as attend
from looktwice.attention.api import attend_in_parts as attend_in_parts
from looktwice.attention.api import attend_look as attend_look
from looktwice.attention.evidence import attention_map as attention_map
from looktwice.attention.evidence import evidence_map as evidence_map
from looktwice.attention.finishing import finish_map as finish_map
from looktwice.attention.look import Look as Look
from looktwice.attention.look import look_at as look_at
from looktwice.attention.maps import Attention as Attention
from looktwice.attention.methods import METHODS as METHODS
from looktwice.attention.methods import Method as Method
from looktwice.attention.methods import find_method as find_method
from looktwice.attention.methods import resolve_options as resolve_options
from looktwice.labels import Label as Label
