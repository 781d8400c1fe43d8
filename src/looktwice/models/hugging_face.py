"""Image classifiers of Hugging Face's ``transformers`` by name: ``hf:NAME``. The extra ``transformers`` installs it.

Weights come from safetensors files only, and no code from a repository is run.
"""

import contextlib
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from looktwice.errors import LooktwiceWarning, MissingExtraError, ModelError, cut, one_line
from looktwice.gating.outputs import NetworkOutput
from looktwice.models.class_names import default_classes
from looktwice.models.hub import PICKLED_WEIGHTS, fetch_repository
from looktwice.models.model import AS_MADE, Model
from looktwice.models.plan import NetworkPlan, WeightsKind
from looktwice.models.preprocessing import IMAGENET, Preprocessing
from looktwice.models.processors import preprocessing_of_processor

_CONFIGURATION = "config.json"
_REPOSITORY = re.compile(r"\w[\w.-]*(/[\w.-]+)?(@[\w./-]+)?", re.ASCII)
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def plan_hugging_face(name: str, classes: Sequence[str] | None) -> NetworkPlan:
    """How to make a classifier of ``transformers``.

    Args:
        name: ``hf:OWNER/NAME`` or ``hf:OWNER/NAME@REVISION`` for a repository on the Hugging Face Hub, or
            ``hf:FOLDER`` for a folder that ``save_pretrained`` wrote.
        classes: the name of each class, if the user gives them.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    _transformers()
    place = name.partition(":")[2]
    return NetworkPlan(name, lambda kind: _build(name, place, kind, classes))


def hugging_face_model(
    module: nn.Module, processor: Any | None = None, name: str = "", weights: str = AS_MADE
) -> Model:
    """A classifier of ``transformers``, as an object → a ``Model`` with its preprocessing and its class names.

    Args:
        module: what ``AutoModelForImageClassification.from_pretrained`` returns. Its ``config.id2label`` names the
            classes, and its ``config.problem_type`` says whether an image may have several.
        processor: what ``AutoImageProcessor.from_pretrained`` returns. Without one, images get ImageNet's mean and
            standard deviation and the size in the network's configuration, and a warning says so.
        name: how it is called; ``hf:`` and the class of the network when left out.
        weights: where its weights are from, in words.

    Raises:
        ModelError: not a classifier of ``transformers``, or a processor that does what a ``Preprocessing`` cannot do.

    Example:
        >>> from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor
        >>> small = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
        >>> model = hugging_face_model(ResNetForImageClassification(small), ViTImageProcessor())
        >>> model.preprocessing.crop, model.preprocessing.squash, model.classes
        (224, True, ('class 0', 'class 1', 'class 2'))
    """
    shown = name or f"hf:{type(module).__name__}"
    labels = getattr(getattr(module, "config", None), "id2label", None)
    if not isinstance(module, nn.Module) or not labels:
        raise ModelError(
            f"{type(module).__name__} has no config.id2label; a network from "
            "transformers.AutoModelForImageClassification is needed"
        )
    preprocessing = preprocessing_of_processor(processor, shown) if processor else _usual(module, shown)
    is_multilabel = getattr(module.config, "problem_type", None) == "multi_label_classification"
    output = NetworkOutput("multilabel_logits" if is_multilabel else None)
    return Model(shown, module, preprocessing, _class_names(labels), weights, output)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            "hf:NAME needs the package transformers: pip install 'looktwice[transformers]'"
        ) from error
    return transformers


def _build(name: str, place: str, kind: WeightsKind, classes: Sequence[str] | None) -> Model:
    folder = _folder(name, place, weights=kind == "default")
    _check_configuration(name, place, folder)
    with _quiet(), _explained(name, folder):
        module = _pretrained(name, folder) if kind == "default" else _untrained(folder, classes)
        processor = _processor(folder)
    return hugging_face_model(module, processor, name, f"Hugging Face {place}" if folder != Path(place) else place)


def _folder(name: str, place: str, *, weights: bool) -> Path:
    """The folder with the network: the user's own, or the cached copy of a repository on the Hub."""
    if place and Path(place).is_dir():
        return Path(place)
    if not _REPOSITORY.fullmatch(place):
        raise ModelError(f"{name}: no such folder, and no name of a repository; write hf:OWNER/NAME or hf:FOLDER")
    remedy = (
        "offline, give the folder that save_pretrained wrote (hf:FOLDER); there is no folder of this name, and "
        "looktwice has no copy of the repository"
    )
    return fetch_repository(place, weights=weights, remedy=remedy)


def _check_configuration(name: str, place: str, folder: Path) -> None:
    """Refuses a folder without a configuration of ``transformers``."""
    file = folder / _CONFIGURATION
    try:
        configuration = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{name}: {folder} has no {_CONFIGURATION}; name a folder that save_pretrained wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read ({one_line(error)}); save the network again") from error
    if not isinstance(configuration, dict) or "model_type" not in configuration:
        source = f"timm:local-dir:{place}" if folder == Path(place) else f"timm:hf-hub:{place}"
        raise ModelError(f"{name}: {_CONFIGURATION} names no model_type; if it is a network of timm, name it {source}")


def _pretrained(name: str, folder: Path) -> nn.Module:
    """The network with the weights in its folder. All of them must be there: no part may stay at random."""
    if not any(folder.glob("*.safetensors")):
        old = folder / PICKLED_WEIGHTS
        remedy = f"pass weights={old}" if old.is_file() else "save it with save_pretrained, or pass weights=FILE"
        raise ModelError(f"{name}: {folder} has no .safetensors file; {remedy}")
    module: nn.Module
    module, found = _transformers().AutoModelForImageClassification.from_pretrained(
        str(folder),
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    missing = sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"])))
    if missing:
        shown = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise ModelError(
            f"{name}: its weights are not those of a classifier: {len(missing)} missing ({shown}); "
            "name a network that was trained to classify images"
        )
    return module


def _untrained(folder: Path, classes: Sequence[str] | None) -> nn.Module:
    transformers = _transformers()
    count = {} if classes is None else {"num_labels": len(classes)}
    configuration = transformers.AutoConfig.from_pretrained(
        str(folder), trust_remote_code=False, local_files_only=True, **count
    )
    module: nn.Module = transformers.AutoModelForImageClassification.from_config(
        configuration, trust_remote_code=False, dtype=torch.float32
    )
    return module


def _processor(folder: Path) -> Any | None:
    if not any((folder / each).is_file() for each in _PROCESSORS):
        return None
    return _transformers().AutoImageProcessor.from_pretrained(
        str(folder), trust_remote_code=False, local_files_only=True
    )


def _usual(module: nn.Module, name: str) -> Preprocessing:
    """ImageNet's preprocessing at the size in the network's configuration, where there is no processor."""
    size: Any = getattr(module.config, "image_size", None) or IMAGENET.crop
    preprocessing = IMAGENET.having(resize=size)
    warnings.warn(
        f"{name}: it has no image processor; unless you say how images are preprocessed (--size, --mean, --std …), "
        f"they get: {preprocessing}",
        LooktwiceWarning,
        stacklevel=3,
    )
    return preprocessing


def _class_names(labels: Any) -> tuple[str, ...]:
    """The names in ``id2label``; numbers if nobody has named the classes (``LABEL_0``, ``LABEL_1`` …)."""
    names = tuple(str(labels[index]) for index in sorted(labels))
    unnamed = names == tuple(f"LABEL_{index}" for index in range(len(names)))
    return tuple(default_classes(len(names))) if unnamed else names


@contextlib.contextmanager
def _explained(name: str, folder: Path) -> Iterator[None]:
    """Turns what ``transformers`` raises into one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # OSError, ValueError, SafetensorError, KeyError … by what is wrong with the folder
        reason = cut(one_line(error), most=300)
        raise ModelError(
            f"{name}: transformers cannot load {folder} ({type(error).__name__}: {reason}); "
            "name a network for image classification"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside the ``with``, ``transformers`` writes no notes and no progress bars: what is wrong becomes an error."""
    logging = _transformers().utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
