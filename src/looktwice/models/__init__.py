"""Networks by name, with their preprocessing, classes and weights."""

from looktwice.models.catalogue import model_names as model_names
from looktwice.models.load import Model as Model
from looktwice.models.load import find_class as find_class
from looktwice.models.load import load_model as load_model
from looktwice.models.preprocessing import IMAGENET as IMAGENET
from looktwice.models.preprocessing import Preprocessing as Preprocessing
from looktwice.models.weights import weights_hash as weights_hash
