"""Gates on the activations of a frozen network, call by call, without touching the network."""

from looktwice.gating.activations import ACTIVATIONS as ACTIVATIONS
from looktwice.gating.activations import Activation as Activation
from looktwice.gating.activations import Saturation as Saturation
from looktwice.gating.calls import LAST_STRIDE as LAST_STRIDE
from looktwice.gating.calls import LEAST_STRIDE as LEAST_STRIDE
from looktwice.gating.calls import NO_GATES as NO_GATES
from looktwice.gating.calls import ActivationCall as ActivationCall
from looktwice.gating.calls import Guidance as Guidance
from looktwice.gating.calls import Layers as Layers
from looktwice.gating.calls import Network as Network
from looktwice.gating.calls import select_layers as select_layers
from looktwice.gating.frozen import FrozenNetwork as FrozenNetwork
from looktwice.gating.frozen import frozen as frozen
from looktwice.gating.outputs import NetworkOutput as NetworkOutput
from looktwice.gating.outputs import OutputKind as OutputKind
from looktwice.gating.passes import activation_calls as activation_calls
from looktwice.gating.passes import gated_scores as gated_scores
from looktwice.gating.replay import PrefixCache as PrefixCache
