"""One model per section of the settings; the whole is `ProjectSettings`."""

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
)

from scalewise.config.datasets import DataSettings
from scalewise.config.fields import (
    Count,
    FolderName,
    NotNegative,
    Number,
    OptionalText,
    Portion,
    Positive,
    Section,
    Share,
    ShareBelowOne,
    Truth,
    Whole,
    nothing,
    number,
    shown,
    values,
)


def _sha256(value: str | None) -> str | None:
    if value is not None and not re.fullmatch("[0-9a-fA-F]{64}", value):
        raise ValueError(f"{shown(value)} is no SHA-256: 64 hexadecimal digits")
    return value.lower() if value else value


def _whole(value: Any) -> Any:
    """A whole number, of what `--config` makes of one."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class Preprocessing(Section):
    """What is done to an image's 0..255 values before the network sees them."""

    order: Literal["rgb", "bgr"] = Field(description="order of the channels")
    mean: Annotated[
        tuple[Number, Number, Number], values(3, "three numbers, one for each channel")
    ] = Field(description="per channel in that order, of 0..255")
    scale: Annotated[
        tuple[Positive, Positive, Positive], values(3, "three numbers, one for each channel")
    ] = Field(description="divisor, same order and unit")


# means and deviations of ImageNet's photographs
IMAGENET = Preprocessing(order="rgb", mean=(123.7, 116.3, 103.5), scale=(58.4, 57.1, 57.4))
# what the released VGG-16 and ResNet-101 weights were trained with (docs/networks.md)
CAFFE = Preprocessing(
    order="bgr", mean=(104.00698793, 116.66876762, 122.67891434), scale=(1.0, 1.0, 1.0)
)
# the same to more digits, as SegFormer and most published weights were trained with
IMAGENET_EXACT = Preprocessing(
    order="rgb", mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375)
)
Width = Annotated[int, Field(ge=8, le=256, multiple_of=8), BeforeValidator(number)]


class WeightsSettings(Section):
    """A local file of weights: .pth (tensors alone) or .safetensors."""

    file: str = Field(description="relative paths start where relative data folders do")
    sha256: Annotated[OptionalText, AfterValidator(_sha256)] = Field(
        default=None, description="refuse the file when its SHA-256 is another"
    )
    minimum_match: Annotated[Portion | None, BeforeValidator(nothing)] = Field(
        default=None,
        description="smallest share of the network's tensors that must be found in it; null: 0.9 "
        "of weights to start from, all of source-trained ones",
    )


OptionalWeights = Annotated[WeightsSettings | None, BeforeValidator(nothing)]
InitialWeights = Annotated[
    OptionalWeights,
    Field(description="what source training starts from; null: drawn from the seed"),
]


class CompactSettings(Section):
    """A compact residual network for small images: dilated, ASPP, skip at 1/4."""

    name: Literal["compact"] = Field(description="residual, dilated, ASPP, skip at 1/4")
    width: Width = Field(default=32, description="channels of the first layers")
    dropout: ShareBelowOne = Field(default=0.1, description="share of features left out")
    preprocessing: Preprocessing = IMAGENET
    weights: InitialWeights = None


class Fcn8sSettings(Section):
    """FCN-8s on VGG-16, as the paper uses it."""

    name: Literal["fcn8s_vgg16"] = Field(description="FCN-8s on VGG-16")
    width: Width = Field(default=64, description="channels of the first layers; 64: as published")
    hidden: Count = Field(default=4096, description="channels of fc6 and fc7; 4096: as published")
    dropout: ShareBelowOne = Field(default=0.5, description="share of features left out")
    preprocessing: Preprocessing = CAFFE
    weights: InitialWeights = None


class DeeplabSettings(Section):
    """DeepLab-v2 on ResNet-101, as the paper uses it."""

    name: Literal["deeplabv2_resnet101"] = Field(description="DeepLab-v2 on ResNet-101")
    width: Width = Field(default=64, description="channels of the first layers; 64: as published")
    classifier_branches: Annotated[Literal[2, 4], BeforeValidator(_whole)] = Field(
        default=4, description="dilations 6, 12, 18, 24; 2: the first two (method row 10)"
    )
    freeze_batchnorm_affine: Truth = Field(
        default=True, description="scales and offsets of batch-norm are not trained"
    )
    preprocessing: Preprocessing = CAFFE
    weights: InitialWeights = None


class SegformerSettings(Section):
    """SegFormer; it needs the package transformers (docs/networks.md)."""

    name: Literal["segformer"] = Field(description="Mix Transformer and an all-MLP head")
    variant: Literal["tiny", "b0", "b1", "b2", "b3", "b4", "b5"] = Field(
        default="b0", description="the published sizes; tiny: for trials, no weights fit"
    )
    dropout: ShareBelowOne = Field(default=0.1, description="share of features left out")
    drop_path: ShareBelowOne = Field(
        default=0.1,
        description="how often the last residual branch is left out; from 0 at the first",
    )
    preprocessing: Preprocessing = IMAGENET_EXACT
    weights: InitialWeights = None


Network = Annotated[
    CompactSettings | Fcn8sSettings | DeeplabSettings | SegformerSettings,
    Field(discriminator="name"),
]


class OptimizerSettings(Section):
    """The optimiser and its rates."""

    name: Literal["adam", "adamw", "sgd"] = Field(description="adamw decouples the decay")
    learning_rate: Positive = Field(description="at the first step")
    weight_decay: NotNegative = Field(description="pull of the weights towards 0")
    momentum: ShareBelowOne = Field(description="of sgd; beta 1 of the Adams")
    beta2: ShareBelowOne = Field(description="of adam and adamw")
    bias_rate: Positive = Field(description="times learning_rate, for biases")
    classifier_rate: Positive = Field(description="times learning_rate, for the classifier")

    def idle(self) -> set[str]:
        return {"beta2"} if self.name == "sgd" else set()


class ScheduleSettings(Section):
    """How the learning rate falls."""

    name: Literal["poly", "step", "constant"] = Field(description="poly falls to 0 at its horizon")
    power: Positive = Field(description="of poly: (1 - step / horizon) ** power")
    horizon: Annotated[Count | None, BeforeValidator(nothing)] = Field(
        description="of poly: steps until 0; null: the steps of the training"
    )
    drop_every: Count = Field(description="of step: steps between drops")
    drop_factor: Portion = Field(description="of step: times the rate at each drop")
    warmup: Whole = Field(description="steps over which the rate rises from 0 at first")

    def idle(self) -> set[str]:
        own = {"poly": {"power", "horizon"}, "step": {"drop_every", "drop_factor"}}
        return set().union(*(keys for name, keys in own.items() if name != self.name))


class AugmentationSettings(Section):
    """Random views of an image: largest relative changes; 0 is off."""

    flip: Truth = Field(description="left and right, every other time")
    scale: Annotated[
        tuple[Positive, Positive], values(2, "two numbers, smallest and largest, as in [0.5, 2]")
    ] = Field(description="log-uniform range; crop or ignore-pad")
    brightness: Share = Field(description="largest change, as a share of white")
    contrast: Share = Field(description="largest relative change about the image's mean")
    saturation: Share = Field(description="largest relative change about grey")
    channel_gain: Share = Field(description="largest relative change of each channel")
    gamma: Share = Field(description="largest relative change of the exponent")
    blur: NotNegative = Field(description="largest standard deviation in pixels")

    @field_validator("scale")
    @classmethod
    def _scale_is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("the first number is the smaller one, as in [0.5, 2]")
        return value


OptionalTemperature = Annotated[Positive | None, BeforeValidator(nothing)]


class SourceTrainingSettings(Section):
    """Training on the labelled source images (round 0)."""

    weights: OptionalWeights = Field(
        description="weights trained on the source already: nothing is trained then"
    )
    steps: Count = Field(description="batches trained on")
    batch: Count = Field(description="images a step")
    freeze_batchnorm: Truth = Field(description="keep batch-norm statistics as they were loaded")
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    augmentation: AugmentationSettings
    rare_classes: OptionalTemperature = Field(
        description="temperature at which images of rare classes come more often; null: all alike"
    )


class PortionSteps(Section):
    """Portions that grow by the same step, added up one by one as the released program does."""

    first: Portion = Field(description="p of the first round")
    step: NotNegative = Field(description="added after every round")
    rounds: Count = Field(description="number of rounds")


Portions = Annotated[
    Annotated[list[Portion], Tag("<list>")] | Annotated[PortionSteps, Tag("<steps>")],
    Discriminator(lambda v: "<steps>" if isinstance(v, dict | PortionSteps) else "<list>"),
]


OptionalShare = Annotated[Share | None, BeforeValidator(nothing)]


class HealthSettings(Section):
    """Limits of a round, against the round before (docs/health.md); null switches one off."""

    kept: OptionalShare = Field(description="lowest share of the patches' pixels that may teach")
    histogram: OptionalShare = Field(
        description="highest total variation between the histograms of predicted classes"
    )
    agreement: OptionalShare = Field(
        description="lowest share of pixels with the same predicted class"
    )
    entropy: Annotated[NotNegative | None, BeforeValidator(nothing)] = Field(
        description="lowest mean entropy, as a share of that of the round before"
    )
    classes: OptionalShare = Field(
        description="lowest share of its pixels that a class may be left with"
    )


class RoundsSettings(Section):
    """The rounds of adaptation."""

    method: Literal["retrain", "batch_norm"] = Field(
        description="batch_norm re-estimates statistics on the target and trains nothing"
    )
    portions: Portions = Field(
        description="p of each round: a list, or {first, step, rounds}; an empty list: no round"
    )
    target_statistics: Share = Field(
        description="share of the target in the batch-norm statistics that the rounds begin with; "
        "0: those of source training"
    )
    on_collapse: Literal["warn", "stop", "revert"] = Field(
        description="where a limit is passed: say so, or do not train the round, or go on with the "
        "weights of the round before"
    )
    health: HealthSettings

    @field_validator("portions")
    @classmethod
    def _portions_are_shares(cls, value: list[float] | PortionSteps) -> list[float] | PortionSteps:
        if isinstance(value, PortionSteps) and (last := _added_up(value)[-1]) > 1 + 1e-9:
            raise ValueError(
                f"grow to {last:g}: no more than all images (1) can be taken; fewer rounds, or a "
                "smaller step"
            )
        return value

    @property
    def portion_list(self) -> list[float]:
        """p of each round."""
        if isinstance(self.portions, PortionSteps):
            return _added_up(self.portions)
        return list(self.portions)


def _added_up(steps: PortionSteps) -> list[float]:
    # not first + k * step: the last bit of p can decide how many images are taken (method, step 2)
    sums = accumulate([steps.first] + [steps.step] * (steps.rounds - 1))
    return [1.0 if 1 < p < 1 + 1e-9 else p for p in sums]


class PredictionSettings(Section):
    """From which views of a target image its labels come; evaluation has one view always."""

    scales: Annotated[list[Positive], Field(min_length=1)] = Field(
        description="of the input; probabilities are the mean over them"
    )
    flip: Truth = Field(description="mirror images too, at each scale")
    agreement: Truth = Field(
        description="a pixel teaches only where all of these views predict the same class"
    )

    @field_validator("scales")
    @classmethod
    def _each_once(cls, value: list[float]) -> list[float]:
        twice = [scale for scale in value if value.count(scale) > 1]
        if twice:
            raise ValueError(f"{twice[0]:g} stands twice; a view that is seen again says no more")
        return value

    def idle(self) -> set[str]:
        return set() if len(self.scales) > 1 or self.flip else {"agreement"}


class SelectionSettings(Section):
    """Which target images are confident."""

    scope: Literal["class", "global"] = Field(
        description="the most confident images of each class, or of all classes together"
    )
    minimum_per_class: Whole = Field(
        description="take at least so many images of every class that is predicted"
    )
    min_pixels: Count = Field(description="fewer pixels of a class in an image do not count")
    missing_classes: Literal["ignore", "trust"] = Field(
        description="classes that no source label has: not counted in K and never a pseudo-label, "
        "or both (method row 7)"
    )
    resample: Truth = Field(
        description="from the second round on, draw as many images with repeats (method row 1)"
    )
    extra_images: Whole = Field(description="images used beyond the selection (method row 2)")

    def idle(self) -> set[str]:
        return {"minimum_per_class"} if self.scope == "global" else set()


class ThresholdSettings(Section):
    """Which pixels of the patches are reliable."""

    estimator: Literal["at_rank", "pooled", "rate", "none"] = Field(
        description="tau from the first image not taken, pooled over its neighbours, so that the "
        "share p of each class's pixels is kept, or no filter"
    )
    pool: Count = Field(description="of pooled: ranked images on each side of the rank")
    constant_entropy: Literal["zero", "nan"] = Field(
        description="normalised entropy of a class with one value in an image; nan counts as "
        "reliable (method row 3)"
    )

    def idle(self) -> set[str]:
        return {"pool"} if self.estimator != "pooled" else set()


OneScale = Annotated[
    Annotated[Number, Tag("<number>")]
    | Annotated[dict[Literal["from", "to"], Number], Tag("<range>")],
    Discriminator(lambda value: "<range>" if isinstance(value, dict) else "<number>"),
]
Scale = Annotated[
    Annotated[OneScale, Tag("<one>")]
    | Annotated[Annotated[list[OneScale], Field(min_length=1)], Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list | tuple) else "<one>"),
]


class PatchesSettings(Section):
    """The crops of the selected images."""

    per_image: Count = Field(description="crops of every selected image")
    scale: Scale = Field(
        description="crops of 1/scale of each side, scaled up; 1 is self-training; below 1 the "
        "whole image, scaled down; {from, to}: drawn; a list of these: one after the other"
    )
    reliability: Literal["nearest", "bilinear"] = Field(
        description="how the filter is scaled up; bilinear shrinks what is left out (method row 8)"
    )
    claim_images: Whole = Field(description="images on which the paper's claim is measured")

    @field_validator("scale")
    @classmethod
    def _scales_are_positive(cls, value: float | list | dict) -> float | list | dict:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and set(item) != {"from", "to"}:
                raise ValueError("a range has both ends, as in {from: 1, to: 2}")
            if isinstance(item, dict) and item["from"] > item["to"]:
                raise ValueError("a range starts with the smaller scale, as in {from: 1, to: 2}")
            for scale in item.values() if isinstance(item, dict) else [item]:
                if scale <= 0:
                    raise ValueError(f"must be positive; {scale:g} is not. The paper's scale is 2")
        return value

    @property
    def scale_text(self) -> str:
        """The scale in words."""
        several = self.scale if isinstance(self.scale, list) else [self.scale]
        words = (
            f"{s['from']:g} to {s['to']:g}" if isinstance(s, dict) else f"{s:g}" for s in several
        )
        single = not isinstance(self.scale, list | dict)
        return ("scale " if single else "scales ") + ", ".join(words)


class FocalSettings(Section):
    """The focal term of the patches' loss."""

    beta: NotNegative = Field(description="weight")
    gamma: NotNegative = Field(description="exponent of (1 - probability)")
    over: Literal["pixels", "mean"] = Field(
        description="pixel by pixel, or of the mean loss as one number (method row 9)"
    )


class TeacherSettings(Section):
    """A moving average of the weights that labels the patches as they go (DACS)."""

    momentum: ShareBelowOne = Field(
        description="share of the average that stays at each step; 0: none, labels are those of "
        "the round's beginning"
    )
    confidence: Share = Field(
        description="probability from which a pixel is sure; the share of sure pixels is the "
        "weight of a patch"
    )
    labels: Literal["hard", "soft"] = Field(
        description="the most probable class, or all probabilities as they are"
    )

    def idle(self) -> set[str]:
        return {"confidence", "labels"} if self.momentum == 0 else set()


class RetrainingSettings(Section):
    """Training of one round, on source images and patches."""

    epochs: Count = Field(description="passes over the patches of the selected images")
    source_batch: Count = Field(description="source images a step")
    target_batch: Count = Field(description="patches a step")
    target_weight: NotNegative = Field(description="of the patches' loss; 0: the source only")
    source_zoom: Share = Field(
        description="share of source images replaced by crops scaled up by 2 (a control)"
    )
    freeze_batchnorm: Truth = Field(description="keep statistics as the source left them")
    empty_patch: Literal["zero", "nan"] = Field(
        description="loss of patches without a reliable pixel, in training.csv (method row 11)"
    )
    carry_optimizer: Truth = Field(
        description="the optimiser's moments go on from round to round (method row 14)"
    )
    focal: FocalSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    augmentation: AugmentationSettings = Field(description="of the source images")
    target_augmentation: AugmentationSettings = Field(description="of the patches")
    rare_classes: OptionalTemperature = Field(
        description="temperature at which source images and patches of rare classes come more "
        "often; null: all alike"
    )
    target_colors: Share = Field(
        description="share of source images that are given the colours of a target image"
    )
    class_mix: Share = Field(
        description="share of patches into which half of the classes of a source image are pasted"
    )
    label_weights: Literal["mask", "confidence"] = Field(
        description="labels count or do not, by their threshold; or all do, by their confidence"
    )
    teacher: TeacherSettings
    consistency: NotNegative = Field(
        description="weight of the loss of contradicting the prediction for the same patch at half "
        "its scale"
    )
    anchor: NotNegative = Field(
        description="pull towards the source-trained weights: share of the distance per step, "
        "times the learning rate"
    )


class EvaluationSettings(Section):
    """What evaluation keeps beside the numbers."""

    pictures: Annotated[int, Field(ge=0, le=64), BeforeValidator(number)] = Field(
        description="validation images kept with their predictions, evenly spread"
    )


class ReportSettings(Section):
    """What the report shows."""

    classes: str = Field(
        description="over which classes the headline is: all, or the name of a subset"
    )
    gallery: Annotated[int, Field(ge=0, le=64), BeforeValidator(number)] = Field(
        description="images shown with every experiment's prediction"
    )


class ResourceSettings(Section):
    """What jobs use; no result depends on it."""

    threads: Count = Field(description="of a job that runs the network")
    gpus_per_job: Count = Field(description="device slots of a job that runs the network")
    save_minutes: Positive = Field(description="between saved states of a long stage")
    save_steps: Annotated[Count | None, BeforeValidator(nothing)] = Field(
        description="or steps (images, where a stage goes image by image) between them"
    )
    deterministic: Truth = Field(
        description="on CUDA the same bits in every run; false takes faster kernels"
    )


class ExperimentRow(BaseModel):
    """A named row; its other keys are the overrides."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: FolderName = Field(description="unique; names its folder and its row in the report")
    role: Literal["method", "control", "ablation", ""] = Field(
        default="", description="for the report; an ablation is set against the first method"
    )
    description: str = Field(default="", description="what it is, in words, for the report")


class ExperimentSettings(Section):
    """All that an experiment's row may override, resolved."""

    data: DataSettings
    compatibility: Literal["none", "authors_code"] = Field(
        description="authors_code: every switch as in the released program (docs/method.md)"
    )
    network: Network = Field(description="the network, and what an image is to it")
    source_training: SourceTrainingSettings
    rounds: RoundsSettings
    prediction: PredictionSettings
    selection: SelectionSettings
    threshold: ThresholdSettings
    patches: PatchesSettings
    retraining: RetrainingSettings
    evaluation: EvaluationSettings

    @property
    def round_count(self) -> int:
        """Re-estimated statistics depend on the weights alone: one round says it all."""
        return 1 if self.rounds.method == "batch_norm" else len(self.rounds.portion_list)

    @property
    def uses_target(self) -> bool:
        """Whether target images have a say in the weights, be it only in their statistics."""
        if self.rounds.method == "batch_norm":
            return True
        shares = (
            self.retraining.target_weight,
            self.retraining.target_colors,
            self.rounds.target_statistics,
        )
        return self.round_count > 0 and any(shares)


class ProjectSettings(ExperimentSettings):
    """The whole configuration."""

    project: FolderName = Field(description="names results/report/<project>/")
    seeds: list[Whole] = Field(min_length=1, description="one training of everything per seed")
    experiments: list[ExperimentRow] = Field(
        min_length=1, description="each row is this configuration with its own overrides"
    )
    report: ReportSettings
    code: dict[str, Literal["pinned"]] = Field(
        description="stage -> pinned: keep its results over a harmless change of code"
    )
    resources: ResourceSettings


@dataclass(frozen=True)
class Experiment:
    """An experiment with its settings resolved; `differences` are its row's overrides, flat."""

    name: str
    role: str
    description: str
    settings: ExperimentSettings
    differences: dict[str, Any]


@dataclass(frozen=True)
class Project:
    """A checked configuration."""

    settings: ProjectSettings
    experiments: list[Experiment]

    @property
    def name(self) -> str:
        return self.settings.project
