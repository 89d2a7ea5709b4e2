"""Weights files of others and our own: read safely, put into our tensor names, fitted and loaded.

Understood are `.safetensors` and what `torch.save` wrote (`.pth`, `.pt`), told apart by their
content, in the released layout of our networks, in torchvision's for VGG-16 and ResNet-101, or in
Hugging Face's or the authors' for SegFormer.
"""

import logging
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import safe_open
from torch import Tensor

from scalewise.artifacts import model_file
from scalewise.errors import UserError
from scalewise.models import segformer_names
from scalewise.models.fcn8s import BLOCKS
from scalewise.models.network import Network
from scalewise.models.store import NETWORKS

log = logging.getLogger(__name__)

NESTS = ("state_dict", "model", "model_state_dict")
# places of the convolutions in torchvision's vgg16().features
VGG16_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
COUNTER = "num_batches_tracked"  # steps a batch norm has seen: older files lack it, none needs it
SHOWN = 4  # names in a message
PRETRAINED_SHARE = 0.9  # what must be found in weights to start from, unless the settings say else
ONLY_IN_TRAINING = (
    "dropout",
    "drop_path",
    "freeze_batchnorm_affine",
)  # options that change no output


@dataclass(frozen=True)
class WeightsFile:
    """Tensors by the names of our networks; of our own model files also the description (see
    `scalewise.artifacts.model_file`), else None."""

    path: Path
    tensors: dict[str, Tensor]
    description: dict | None
    torchvision: bool = False  # whether the names are, or the classifier is, torchvision's


def _require_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such weights file")
    if not path.is_file():
        raise UserError(f"{path}: a folder; name the weights file in it")


def read(path: str | Path) -> WeightsFile:
    """Read a weights file on the CPU; nothing in it is ever run.

    Nested `state_dict`, `model` and `model_state_dict` are unwrapped, `module.` and `Scale.` before
    the names are dropped, torchvision's and SegFormer's layouts are renamed (classifiers of
    ImageNet dropped).
    Raises UserError naming the file, what is wrong, and what to do.
    """
    path = Path(path)
    _require_file(path)
    with open(path, "rb") as file:
        start = file.read(512)
    description = None
    if start[8:9] == b"{":
        tensors, description = _read_safetensors(path)
    elif start.startswith((b"PK\x03\x04", b"\x80\x02")):
        tensors = _read_pickle(path)
    elif not start:
        raise UserError(f"{path}: an empty file: fetch it again")
    elif start.lstrip().startswith(b"<"):
        raise UserError(
            f"{path}: a web page, no weights: open the address in a browser, follow what the page "
            "asks for, and fetch the file again"
        )
    else:
        raise UserError(f"{path}: neither a .safetensors file nor one that torch.save wrote")
    named = _renamed(path, tensors)
    torchvision = any(re.search(r"(^|\.)(features\.\d+|fc)\.weight$", name) for name in tensors)
    return WeightsFile(path, named, description, torchvision)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict | None]:
    try:
        with safe_open(path, framework="pt") as file:
            if "scalewise" not in (file.metadata() or {}):
                return {name: file.get_tensor(name) for name in file.keys()}, None  # noqa: SIM118
        content = model_file.read(path)
    except Exception as error:
        raise UserError(f"{path}: damaged or cut short ({error}): fetch it again") from None
    return content.tensors, content.description


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                claimed = sum(entry.file_size for entry in file.infolist())
            if claimed > path.stat().st_size:  # torch.save packs nothing
                raise UserError(f"{path}: holds packed tensors: save it anew with torch.save")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if not isinstance(error, UnpicklingError) or not refused:
            # what torch says here is empty, or advises to read the file unsafely
            raise UserError(f"{path}: damaged or cut short: fetch it again") from None
        raise UserError(
            f"{path}: holds more than tensors ({refused[1]}), which could run code when read; if "
            "you trust it, save its tensors alone: "
            f"torch.save(torch.load('{path.name}', weights_only=False)['state_dict'], 'new.pth'), "
            "or, where it is a whole network, its .state_dict()"
        ) from None
    while isinstance(content, dict):
        nests = [key for key in NESTS if isinstance(content.get(key), dict)]
        if not nests:
            break
        content = content[nests[0]]
    tensors = {}
    if isinstance(content, dict):
        tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise UserError(f"{path}: no tensors by name in it: save the network's state_dict()")
    for name, value in tensors.items():
        # repeated by a stride of 0, a few bytes can stand for any number of values
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise UserError(f"{path}: {name} claims more values than are stored: fetch it again")
    return tensors


def _renamed(path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of our networks."""
    found = {re.sub(r"^((module|Scale)\.)+", "", k): v for k, v in tensors.items()}
    if len(found) < len(tensors):
        raise UserError(f"{path}: holds tensors of the same name but for module. or Scale.")
    places = {int(k.split(".")[1]) for k in found if re.fullmatch(r"features\.\d+\.weight", k)}
    if places == set(VGG16_PLACES):
        return _from_torchvision_vgg16(found)
    if "layer1.0.conv1.weight" in found:
        # torchvision's classifier of ImageNet; all else has the names of ours
        return {k: v for k, v in found.items() if not re.fullmatch(r"fc\.(weight|bias)", k)}
    of_segformer = segformer_names.renamed(found)
    return found if of_segformer is None else of_segformer


def _from_torchvision_vgg16(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """features.N and classifier.0 and 3 as convolutions; classifier.6, ImageNet's, is dropped."""
    convolutions = [
        f"conv{block}_{layer + 1}"
        for block, (layers, _) in enumerate(BLOCKS, 1)
        for layer in range(layers)
    ]
    modules = {f"features.{n}": name for n, name in zip(VGG16_PLACES, convolutions, strict=True)}
    modules |= {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": None}
    result = {}
    for key, value in tensors.items():
        module, _, kind = key.rpartition(".")
        name = modules.get(module, module)
        if name is None:
            continue
        if value.dim() == 2:  # a linear layer over 7 x 7 cells, or over one
            cells = 7 if name == "fc6" and value.shape[1] % 49 == 0 else 1
            value = value.reshape(len(value), -1, cells, cells)
        result[f"{name}.{kind}"] = value
    return result


@dataclass(frozen=True)
class Fit:
    """Names of tensors. misshapen: name, shape in the file, shape in the network."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """For `weights.csv`: tensor, what became of it, shapes where they differ."""
        for verdict in ("matched", "missing", "unexpected"):
            yield from ((name, verdict, "") for name in getattr(self, verdict))
        for name, theirs, ours in self.misshapen:
            yield name, "of another shape", f"{_shape(theirs)} for {_shape(ours)}"


def fit(network: Network, tensors: dict[str, Tensor]) -> Fit:
    """What a file has for a network; the batch norms' step counters are no news either way."""
    own = network.state_dict()
    common = [name for name in own if name in tensors]
    return Fit(
        matched=tuple(n for n in common if tensors[n].shape == own[n].shape),
        missing=tuple(n for n in own if n not in tensors and not n.endswith(COUNTER)),
        unexpected=tuple(n for n in tensors if n not in own and not n.endswith(COUNTER)),
        misshapen=tuple(
            (n, tuple(tensors[n].shape), tuple(own[n].shape))
            for n in common
            if tensors[n].shape != own[n].shape
        ),
    )


def load_file(
    network: Network,
    settings: dict,
    classes: list[str],
    path: str | Path,
    rules: dict,
    *,
    pretrained: bool,
    warn: Callable[[str], None] = log.warning,
) -> Fit:
    """Check a file, read it, and load it; what became of each tensor.

    Args:
        network: changed in place; settings: what it was built from, with its preprocessing.
        classes: the names of its classes.
        path: the file.
        rules: minimum_match, as in the configuration.
        pretrained: weights to start from, whose classifier may be missing or of other classes;
            otherwise they are to be used as they are, and unless minimum_match says less, all of
            the network must be there.
        warn: is told what is allowed and rarely meant.

    Raises: UserError, see `read` and `load_into`; also for a model file of ours
        that was made with other settings of the network, or (not pretrained) with other classes.
    """
    weights = read(path)
    if weights.description:
        theirs = weights.description["network"]
        for key, value in settings.items():
            if key not in ONLY_IN_TRAINING and theirs.get(key) != value:
                raise UserError(
                    f"{path}: made with network.{key} {theirs.get(key)}, and the settings say "
                    f"{value}: set network.{key} to the former, or give other weights"
                )
        if not pretrained and weights.description["classes"] != classes:
            raise UserError(
                f"{path}: knows the classes {', '.join(weights.description['classes'])}, and the "
                f"settings name {', '.join(classes)}: set data.classes to the former, or give "
                "other weights"
            )
    made_for = settings["preprocessing"]
    if weights.torchvision and (made_for["order"] == "bgr" or max(made_for["scale"]) == 1):
        warn(
            f"{path}: torchvision's weights were trained on RGB images; set network.preprocessing "
            "to {order: rgb, mean: [123.675, 116.28, 103.53], scale: [58.395, 57.12, 57.375]}"
        )
    share = rules["minimum_match"]
    if share is None:
        share = PRETRAINED_SHARE if pretrained else 1.0
    found = load_into(network, weights, share, needs_classifier=not pretrained)
    lacking = set(found.missing) - _fixed(network)
    if not pretrained and lacking:
        warn(
            f"{path}: lacks {len(lacking)} tensors of the network, which keep drawn values: "
            + ", ".join(sorted(lacking)[:SHOWN])
        )
    return found


def load_into(
    network: Network, weights: WeightsFile, minimum_share: float, *, needs_classifier: bool
) -> Fit:
    """Load what matches, log the rest, and return both.

    Args:
        network: changed in place.
        weights: see `read`.
        minimum_share: of the network's tensors, how many must match. Tensors are counted, not
            their elements: one layer without its batch norm or its bias spoils the network however
            few numbers those are. Not counted are `fixed_parameters`, the step counters, and, where
            it may be new, the classifier.
        needs_classifier: False for pre-trained weights, whose classifier is missing or one of other
            classes; True for weights that are to be used as they are.

    Raises: UserError where less matches, where a tensor (but for a classifier that may be new) has
        another shape, a needed classifier is not whole, or the file is one of the same network with
        more blocks; nothing is loaded then.
    """
    found = fit(network, weights.tensors)
    ids = {id(p): name for name, p in network.named_parameters()}
    fixed = _fixed(network)
    classifier = {ids[id(p)] for p in network.classifier_parameters()} - fixed
    needed = {n for n in network.state_dict() if not n.endswith(COUNTER)} - fixed
    of_classes = fixed | classifier
    if not needs_classifier:
        needed -= classifier
    have = needed.intersection(found.matched)
    share = len(have) / len(needed)
    log.info("%s: %s", weights.path, _told(found, every=True))
    wrong = [m for m in found.misshapen if needs_classifier or m[0] not in of_classes]
    larger = any(map(network.is_of_a_larger_one, found.unexpected))
    if share < minimum_share or wrong or larger or (needs_classifier and not classifier <= have):
        raise UserError(
            f"{weights.path}: {_guess(network, weights, found, classifier, fixed)}: {len(have)} of "
            f"{len(needed)} needed tensors match ({share:.1%}, at least {minimum_share:.1%} must); "
            f"{_told(found)}"
        )
    fresh = sorted(classifier.difference(found.matched))
    if fresh:
        log.warning("%s: the classifier begins anew: %s", weights.path, ", ".join(fresh))
    state = {name: weights.tensors[name] for name in found.matched}
    for name, value in state.items():
        trained = value.is_floating_point() and bool(value.isfinite().all())
        if not trained and not name.endswith(COUNTER):
            raise UserError(
                f"{weights.path}: {name} holds values that are no finite numbers with a fraction: "
                "these are no trained weights"
            )
    network.load_state_dict(state, strict=False)
    return found


def _fixed(network: Network) -> set[str]:
    """Names of what no training sets, such as bilinear kernels."""
    fixed = {id(p) for p in network.fixed_parameters()}
    return {name for name, p in network.named_parameters() if id(p) in fixed}


def _told(found: Fit, every: bool = False) -> str:
    """The four lists with their counts, for a log or, with the first few names, for a message."""

    def listed(what: str, names: list[str]) -> str:
        shown = names if every else names[:SHOWN]
        more = "" if len(shown) == len(names) else ", ..."
        return f"{len(names)} {what}" + (f" ({', '.join(shown)}{more})" if shown else "")

    shapes = [f"{n} {_shape(theirs)} for {_shape(ours)}" for n, theirs, ours in found.misshapen]
    return "; ".join(
        [
            *([listed("matched", list(found.matched))] if every else []),
            listed("missing", list(found.missing)),
            listed("unexpected", list(found.unexpected)),
            listed("of another shape", shapes),
        ]
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _guess(
    network: Network, weights: WeightsFile, found: Fit, classifier: set[str], fixed: set[str]
) -> str:
    """In words, what the file seems to be."""
    likeness = {}
    for name, kind in NETWORKS.items():
        try:
            with torch.device("meta"):
                own = {n for n in kind(1).state_dict() if not n.endswith(COUNTER)}
        except UserError:  # a package that it needs is missing
            continue
        likeness[name] = len(own.intersection(weights.tensors)) / len(own)
    best = max(likeness, key=likeness.get)
    if likeness[best] < 0.3:
        return "weights of another network, none of this project's"
    if not isinstance(network, NETWORKS[best]):
        return f"weights of another network ('{best}')"
    other_size = any(
        name not in classifier | fixed or (name in classifier and theirs[1:] != ours[1:])
        for name, theirs, ours in found.misshapen
    )
    if other_size or any(map(network.is_of_a_larger_one, found.unexpected)):
        return (
            f"weights of '{best}' with other options ({network.size_option}), or of a network "
            "much like it"
        )
    if found.misshapen:
        _, theirs, ours = found.misshapen[0]
        return f"a classifier of {_shape(theirs[:1])} classes where this project has {ours[0]}"
    if (classifier | fixed).intersection(found.missing):
        return f"weights of '{best}' without their whole classifier"
    return f"a part of the weights of '{best}'"
