"""Build networks by name; write and read them with all that is needed to predict."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from scalewise.artifacts import model_file
from scalewise.models.compact import Compact
from scalewise.models.deeplab import DeepLab
from scalewise.models.fcn8s import FCN8s
from scalewise.models.network import Network
from scalewise.models.segformer import Segformer

NETWORKS = {
    "compact": Compact,
    "fcn8s_vgg16": FCN8s,
    "deeplabv2_resnet101": DeepLab,
    "segformer": Segformer,
}


def build(network: dict, classes: int) -> Network:
    """network: `name` and the options of that network, as in the settings (`preprocessing` is no
    option of the network). Raises KeyError for an unknown name, UserError where a package that
    this network needs is missing."""
    options = {k: v for k, v in network.items() if k not in ("name", "preprocessing")}
    return NETWORKS[network["name"]](classes, **options)


@dataclass(frozen=True)
class LoadedModel:
    """A network with the settings it was built from, its classes, and its working size."""

    network: Network
    settings: dict
    classes: list[str]
    size: tuple[int, int]

    @property
    def preprocessing(self) -> dict:
        return self.settings["preprocessing"]


def save(path: str | Path, model: nn.Module, settings: dict, classes: list[str], size) -> None:
    """Write weights and description; see `scalewise.artifacts.model_file`."""
    description = {"network": settings, "classes": list(classes), "size": list(size)}
    model_file.write(path, model_file.ModelFile(model.state_dict(), description))


def load(path: str | Path) -> LoadedModel:
    """Raises ValueError naming the file when it does not hold such a network."""
    content = model_file.read(path)
    d = content.description
    try:
        network = build(d["network"], len(d["classes"]))
        network.load_state_dict(content.tensors)
        return LoadedModel(network, d["network"], d["classes"], tuple(d["size"]))
    except KeyError as error:
        raise ValueError(f"{path}: it says nothing of {error}, or no such network") from None
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None
