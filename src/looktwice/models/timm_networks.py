"""timm's networks by name: ``timm:NAME``. The extra ``timm`` installs the package."""

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from torch import nn

from looktwice.errors import MissingExtraError, ModelError, cut, one_line
from looktwice.models.class_names import default_classes, imagenet_classes
from looktwice.models.hub import fetch_address, fetch_repository, weights_file
from looktwice.models.model import AS_MADE, Model
from looktwice.models.plan import NetworkPlan, WeightsKind
from looktwice.models.preprocessing import Interpolation, Preprocessing
from looktwice.models.weights_file import read_state_dicts

_HUB = ("hf-hub", "hf_hub")
_FOLDER = "local-dir"


def plan_timm(name: str, classes: Sequence[str] | None) -> NetworkPlan:
    """How to make a network of timm.

    Args:
        name: ``timm:NAME``, ``timm:NAME.TAG`` with the tag of its weights, ``timm:hf-hub:OWNER/NAME`` for a repository
            on the Hugging Face Hub, or ``timm:local-dir:FOLDER`` for a folder like one.
        classes: the name of each class, if the user gives them.

    Raises:
        MissingExtraError: timm is not installed.
        ModelError: timm has no network of this name.
    """
    wanted = name.partition(":")[2]
    source, _, place = wanted.partition(":")
    if source in _HUB and place:
        return NetworkPlan(name, lambda kind: _build_from_repository(name, place, kind, classes))
    if source == _FOLDER and place:
        return NetworkPlan(name, lambda kind: _build_from_folder(name, Path(place), kind, classes))
    _check_name(name, wanted)
    return NetworkPlan(name, lambda kind: _build(name, wanted, kind, classes))


def timm_model(module: nn.Module, name: str = "", weights: str = AS_MADE) -> Model:
    """A network of timm's, as an object → a ``Model`` with its preprocessing and its class names.

    Args:
        module: what ``timm.create_model`` returns. Its ``pretrained_cfg`` tells how images are preprocessed.
        name: how it is called; ``timm:ARCHITECTURE`` when left out.
        weights: where its weights are from, in words.

    Raises:
        MissingExtraError: timm is not installed.
        ModelError: not a classifier of timm's, or images that are padded, which a ``Preprocessing`` cannot do.

    Example:
        >>> import timm
        >>> model = timm_model(timm.create_model("resnet18"))
        >>> model.name, model.preprocessing.crop, model.classes[285]
        ('timm:resnet18', 224, 'Egyptian cat')
    """
    timm = _timm()
    facts = getattr(module, "pretrained_cfg", None)
    if not isinstance(facts, Mapping):
        raise ModelError(f"{type(module).__name__} has no pretrained_cfg; a network from timm.create_model is needed")
    shown = name or f"timm:{facts.get('architecture') or type(module).__name__}"
    count = getattr(module, "num_classes", 0)
    if not isinstance(count, int) or count <= 0:
        raise ModelError(f"{shown} has no classifier: it gives features, not class scores; {_CLASSIFIER_NEEDED}")
    preprocessing = _preprocessing(shown, timm.data.resolve_data_config(pretrained_cfg=dict(facts)))
    return Model(shown, module, preprocessing, _class_names(facts, count), weights)


_CLASSIFIER_NEEDED = "name one that was trained to classify (its tag ends in in1k, in12k, in22k …)"


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError("timm:NAME needs the package timm: pip install 'looktwice[timm]'") from error
    return timm


def _check_name(name: str, wanted: str) -> None:
    """Refuses a name that timm does not have, and a tag that the network does not have."""
    timm = _timm()
    if ":" in wanted or "/" in wanted:
        raise ModelError(
            f"{name!r}: timm has no such source; write timm:NAME, timm:hf-hub:OWNER/NAME or timm:local-dir:FOLDER"
        )
    architecture, _, tag = wanted.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture.lower(), timm.list_models(), n=3, cutoff=0.4)
        hint = f"the nearest are {', '.join(f'timm:{each}' for each in near)}" if near else "timm.list_models() has all"
        raise ModelError(f"no network of timm is named {wanted!r}; {hint}")
    tags = _tags(architecture)
    if tag and tag not in tags:
        closest = ", ".join(difflib.get_close_matches(tag, tags, n=3, cutoff=0))
        hint = f"the nearest tags are {closest}" if closest else f"it has no weights; write timm:{architecture}"
        raise ModelError(f"timm has no weights with the tag {tag!r} for {architecture}; {hint}")


def _tags(architecture: str) -> list[str]:
    """The tags of an architecture's weights."""
    named = _timm().models.list_pretrained(f"{architecture}.*")
    return [each.partition(".")[2] for each in named]


def _build(name: str, wanted: str, kind: WeightsKind, classes: Sequence[str] | None) -> Model:
    if kind != "default":
        return timm_model(_create(name, wanted, **_count(classes)), name)
    state, source = _published(name, wanted)
    # timm renames the weights of other programs and then checks that all are there.
    module = _create(name, wanted, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
    cast(Any, module).pretrained_cfg.pop("state_dict", None)
    return timm_model(module, name, source)


def _build_from_repository(name: str, place: str, kind: WeightsKind, classes: Sequence[str] | None) -> Model:
    _timm()
    return _build_from_folder(name, fetch_repository(place, weights=kind == "default"), kind, classes)


def _build_from_folder(name: str, folder: Path, kind: WeightsKind, classes: Sequence[str] | None) -> Model:
    _timm()
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: {folder} has no config.json; name a folder that timm's save_for_hf wrote")
    if kind != "default":
        return timm_model(_create(name, f"{_FOLDER}:{folder}", **_count(classes)), name)
    file = weights_file(folder)
    if file is None:
        raise ModelError(f"{name}: {folder} has no model.safetensors; pass weights=FILE or weights='random'")
    state = dict(read_state_dicts(file)[0].tensors)
    overlay = {"state_dict": state, "source": ""}
    module = _create(name, f"{_FOLDER}:{folder}", pretrained=True, pretrained_cfg_overlay=overlay)
    cast(Any, module).pretrained_cfg.pop("state_dict", None)
    return timm_model(module, name, name.partition(":")[2])


def _count(classes: Sequence[str] | None) -> dict[str, int]:
    return {} if classes is None else {"num_classes": len(classes)}


def _create(name: str, wanted: str, **options: Any) -> nn.Module:
    try:
        module: nn.Module = _timm().create_model(wanted, **options)
    except Exception as error:  # weights that do not fit, a configuration that is wrong: RuntimeError, TypeError …
        reason = cut(one_line(error), most=300)
        raise ModelError(f"{name}: timm cannot make it ({type(error).__name__}: {reason}); name another") from error
    return module


def _published(name: str, wanted: str) -> tuple[dict[str, Any], str]:
    """timm's weights for a network, and where they are from, in words."""
    facts = _timm().get_pretrained_cfg(wanted)
    if facts is not None and facts.hf_hub_id:
        file = weights_file(fetch_repository(facts.hf_hub_id, weights=True))
        if file is None:
            raise ModelError(f"{name}: {facts.hf_hub_id} has no model.safetensors; pass weights=FILE")
        return dict(read_state_dicts(file)[0].tensors), f"timm {facts.hf_hub_id}"
    if facts is not None and facts.url:
        return dict(read_state_dicts(fetch_address(facts.url, name))[0].tensors), f"timm {facts.url}"
    raise ModelError(f"timm has no weights for {wanted}; pass weights=FILE (.safetensors, .pth …) or weights='random'")


_INTERPOLATIONS: Mapping[str, Interpolation] = {
    **{name: name for name in get_args(Interpolation)},
    "random": "bicubic",  # trained with bilinear and bicubic in turn; bicubic is timm's choice where it has to choose
}
"""timm's names for how images are resized → ours."""


def _preprocessing(name: str, facts: Mapping[str, Any]) -> Preprocessing:
    """timm's evaluation transform (timm.data.transforms_factory.transforms_imagenet_eval) as a ``Preprocessing``."""
    mode, share = facts["crop_mode"], facts["crop_pct"]
    _, height, width = facts["input_size"]
    interpolation = _INTERPOLATIONS.get(facts["interpolation"])
    if interpolation is None:
        raise ModelError(f"{name}: its images are resized with {facts['interpolation']!r}{_NOT_POSSIBLE}")
    resized = math.floor(height / share), math.floor(width / share)
    if mode == "squash":
        sizes = (resized, (height, width), resized == (height, width))
    elif mode == "center" and height == width:
        sizes = (resized[0], height, False)
    else:
        raise ModelError(f"{name}: its images get {height}×{width} pixels by crop_mode {mode!r}{_NOT_POSSIBLE}")
    resize, crop, squash = sizes
    return Preprocessing(resize, crop, tuple(facts["mean"]), tuple(facts["std"]), interpolation, squash)


_NOT_POSSIBLE = (
    ", which is not possible here; write a factory that returns a Model with a Preprocessing of your own, and name it "
    "as FILE.py:FACTORY"
)


def _class_names(facts: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """The classes' names: those of the weights, or ImageNet's if the number of classes is that of a version of it."""
    labels = facts.get("label_names")
    if labels and len(labels) == count:
        described: Any = facts.get("label_descriptions") or {}
        if isinstance(described, Mapping):
            described = [described.get(each, each) for each in labels]
        return tuple(map(str, described))
    if count == len(imagenet_classes()):
        return imagenet_classes()
    data = _timm().data
    subset = data.infer_imagenet_subset({"num_classes": count})
    if subset is None:
        return tuple(default_classes(count))
    # WordNet gives synonyms: "tabby, tabby cat". The first one is the name that torchvision has.
    return tuple(each.partition(",")[0] for each in data.ImageNetInfo(subset).label_descriptions())
