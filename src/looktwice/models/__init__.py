"""Networks by name, each with its weights, its preprocessing and its classes.

A name is one of torchvision's or EfficientNet-Lite's, one of timm's (``timm:NAME``) or of transformers' (``hf:NAME``),
an ONNX file, or the place of a network of one's own. No code from a weights file is ever run.
"""

from looktwice.gating.outputs import NetworkOutput as NetworkOutput
from looktwice.models.catalogue import model_names as model_names
from looktwice.models.device import default_device as default_device
from looktwice.models.hugging_face import hugging_face_model as hugging_face_model
from looktwice.models.load import find_class as find_class
from looktwice.models.load import load_model as load_model
from looktwice.models.model import Model as Model
from looktwice.models.onnx_network import onnx_module as onnx_module
from looktwice.models.preprocessing import IMAGENET as IMAGENET
from looktwice.models.preprocessing import Preprocessing as Preprocessing
from looktwice.models.timm_networks import timm_model as timm_model
from looktwice.models.weights import weights_hash as weights_hash
