"""Attention maps: every method's way from a network, images and classes to maps."""

from looktwice.attention.api import attend as attend
from looktwice.attention.api import attend_frozen as attend_frozen
from looktwice.attention.evidence import attention_map as attention_map
from looktwice.attention.evidence import evidence_map as evidence_map
from looktwice.attention.finishing import finish_map as finish_map
from looktwice.attention.maps import Attention as Attention
from looktwice.attention.maps import FirstPass as FirstPass
from looktwice.attention.maps import first_pass as first_pass
from looktwice.attention.methods import METHODS as METHODS
from looktwice.attention.methods import Method as Method
from looktwice.attention.methods import resolve_options as resolve_options
