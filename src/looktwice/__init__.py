"""looktwice: global perception feedback (Fu et al. 2017) for any ReLU classifier, from an image to maps and boxes.

Each name is imported when it is first used, so ``import looktwice`` does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from looktwice.attention import METHODS as METHODS
    from looktwice.attention import Attention as Attention
    from looktwice.attention import attend as attend
    from looktwice.errors import LooktwiceError as LooktwiceError
    from looktwice.evaluation.evaluate import evaluate as evaluate
    from looktwice.evaluation.plan import EvaluationPlan as EvaluationPlan
    from looktwice.images import read_image as read_image
    from looktwice.labelling.label import label_images as label_images
    from looktwice.labelling.plan import LabelPlan as LabelPlan
    from looktwice.localization import locate as locate
    from looktwice.models import load_model as load_model

_HOMES = {
    "METHODS": "attention",
    "Attention": "attention",
    "EvaluationPlan": "evaluation.plan",
    "LabelPlan": "labelling.plan",
    "LooktwiceError": "errors",
    "attend": "attention",
    "evaluate": "evaluation.evaluate",
    "label_images": "labelling.label",
    "load_model": "models",
    "locate": "localization",
    "read_image": "images",
}
__all__ = [
    "METHODS",
    "Attention",
    "EvaluationPlan",
    "LabelPlan",
    "LooktwiceError",
    "__version__",
    "attend",
    "evaluate",
    "label_images",
    "load_model",
    "locate",
    "read_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'looktwice' has no attribute {name!r}")
    return getattr(import_module(f"looktwice.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
