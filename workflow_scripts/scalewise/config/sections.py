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

    order: Literal["rgb", "bgr"] = Field(description="rgb or bgr: order of the channels")
    mean: Annotated[
        tuple[Number, Number, Number], values(3, "three numbers, one for each channel")
    ] = Field(description="of each channel in that order, of 0..255")
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
    Field(
        description="{file, sha256, minimum_match}: what source training starts from; null: drawn "
        "from the seed"
    ),
]


class CompactSettings(Section):
    """A compact residual network for small images: dilated, ASPP, skip at 1/4."""

    name: Literal["compact"] = Field(description="residual, dilated, ASPP, skip at 1/4")
    width: Width = Field(
        default=32, description="channels of the first layers: 0.36 M parameters at 32"
    )
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


class PrecisionSettings(Section):
    """How the network computes; what follows it (softmax, entropy, loss) is float32 always."""

    autocast: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="of convolutions and products; bfloat16: faster on most GPUs, float16 where a "
        "GPU lacks it",
    )
    channels_last: Truth = Field(
        default=True, description="memory layout of the feature maps: faster for convolutions"
    )
    compile: Truth = Field(
        default=False, description="true: with torch.compile, which needs a C++ compiler"
    )


class OptimizerSettings(Section):
    """The optimiser and its rates."""

    name: Literal["adam", "adamw", "sgd"] = Field(
        description="adam, adamw (which decouples the decay), or sgd"
    )
    learning_rate: Positive = Field(description="at the first step")
    weight_decay: NotNegative = Field(description="pull of the weights towards 0")
    momentum: ShareBelowOne = Field(default=0.9, description="of sgd; beta 1 of the Adams")
    beta2: ShareBelowOne = Field(default=0.999, description="of adam and adamw")
    bias_rate: Positive = Field(default=1, description="times learning_rate, for biases")
    classifier_rate: Positive = Field(
        default=1, description="times learning_rate, for the classifier"
    )

    def idle(self) -> set[str]:
        return {"beta2"} if self.name == "sgd" else set()


class ScheduleSettings(Section):
    """How the learning rate falls."""

    name: Literal["poly", "step", "constant"] = Field(
        default="poly", description="poly: to 0 at the horizon; step: by drops; or constant"
    )
    power: Positive = Field(default=0.9, description="of poly: (1 - step / horizon) ** power")
    horizon: Annotated[Count | None, BeforeValidator(nothing)] = Field(
        default=None, description="of poly: steps until 0; null: those of the training"
    )
    drop_every: Count = Field(default=1000, description="of step: steps between drops")
    drop_factor: Portion = Field(default=0.1, description="of step: times the rate at each drop")
    warmup: Whole = Field(default=0, description="steps over which the rate rises from 0 at first")

    def idle(self) -> set[str]:
        own = {"poly": {"power", "horizon"}, "step": {"drop_every", "drop_factor"}}
        return set().union(*(keys for name, keys in own.items() if name != self.name))


class AugmentationSettings(Section):
    """Random views of an image: largest relative changes; 0 is off."""

    flip: Truth = Field(default=True, description="left and right, every other time")
    scale: Annotated[
        tuple[Positive, Positive], values(2, "two numbers, smallest and largest, as in [0.5, 2]")
    ] = Field(
        default=(1, 1), description="log-uniform range of sizes; larger is cropped, smaller padded"
    )
    brightness: Share = Field(
        default=0, description="largest change, as a share of white; 0 is off"
    )
    contrast: Share = Field(default=0, description="largest relative change about the image's mean")
    saturation: Share = Field(default=0, description="largest relative change about grey")
    channel_gain: Share = Field(default=0, description="largest relative change of each channel")
    gamma: Share = Field(default=0, description="largest relative change of the exponent")
    blur: NotNegative = Field(default=0, description="largest standard deviation in pixels")

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
        default=None,
        description="{file: ...}: of a training on the source, which is then left out",
    )
    steps: Count = Field(default=1200, description="batches trained on")
    batch: Count = Field(default=8, description="images a step")
    freeze_batchnorm: Truth = Field(
        default=False, description="true: statistics as they were loaded, for batches of one image"
    )
    optimizer: OptimizerSettings = OptimizerSettings(
        name="adamw", learning_rate=3e-3, weight_decay=1e-2
    )
    schedule: ScheduleSettings = ScheduleSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    rare_classes: OptionalTemperature = Field(
        default=None,
        description="temperature at which images of rare classes come more often",
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

    kept: OptionalShare = Field(
        default=0.1, description="lowest share of the patches' pixels kept: less teaches too little"
    )
    source: Annotated[NotNegative | None, BeforeValidator(nothing)] = Field(
        default=1.02, description="highest loss on source images, times that before the rounds"
    )
    histogram: OptionalShare = Field(
        default=0.2, description="highest share of pixels that moved to other classes, net"
    )
    agreement: OptionalShare = Field(
        default=0.7, description="lowest share of pixels with the same class: else labels are noise"
    )
    entropy: Annotated[NotNegative | None, BeforeValidator(nothing)] = Field(
        default=0.3, description="lowest mean entropy, times the last: sure of all, right or wrong"
    )
    classes: OptionalShare = Field(
        default=0.05, description="lowest share of its pixels that a class is left with: it is lost"
    )


class RoundsSettings(Section):
    """The rounds of adaptation."""

    method: Literal["retrain", "batch_norm"] = Field(
        default="retrain",
        description="or batch_norm: re-estimate statistics on the target (a control)",
    )
    portions: Portions = Field(
        default=[0.3, 0.4, 0.5],
        description="p of each round: a few hundred images need more than the paper's {first: 0.1, "
        "step: 0.05, rounds: 7}; []: no round",
    )
    target_statistics: Share = Field(
        default=0,
        description="share of the target in the batch-norm statistics they begin with; 0: none",
    )
    statistics_layers: Literal["all", "shallow"] = Field(
        default="all",
        description="all have them; or shallow: those alone that bring an image to a quarter of "
        "its size, which see colours and texture, not objects",
    )
    on_collapse: Literal["warn", "stop", "revert"] = Field(
        default="warn",
        description="where a limit of health is passed: warn; stop before training; or revert: go "
        "on with the weights of the round before",
    )
    health: HealthSettings = Field(
        default=HealthSettings(),
        description="limits of each round against the one before; null: none",
    )

    @field_validator("portions")
    @classmethod
    def _portions_are_shares(cls, value: list[float] | PortionSteps) -> list[float] | PortionSteps:
        if isinstance(value, PortionSteps) and (last := _added_up(value)[-1]) > 1 + 1e-9:
            raise ValueError(
                f"grow to {last:g}: no more than all images (1) can be taken; fewer rounds, or a "
                "smaller step"
            )
        return value

    def idle(self) -> set[str]:
        return set() if self.target_statistics else {"statistics_layers"}

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
        default=[1], description="of the input; several: the mean of their probabilities"
    )
    flip: Truth = Field(default=False, description="true: mirror images too")
    agreement: Truth = Field(
        default=False, description="true: a pixel teaches only where all of these views agree"
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
        default="class", description="or global: the most confident images of all classes together"
    )
    minimum_per_class: Whole = Field(
        default=0, description="take at least so many images of every class that is predicted"
    )
    min_pixels: Count = Field(
        default=10, description="fewer pixels of a class in an image say nothing about it"
    )
    missing_classes: Literal["ignore", "trust"] = Field(
        default="ignore",
        description="classes that no source label has: never a pseudo-label; or trust",
    )
    resample: Truth = Field(
        default=False,
        description="true: draw the images with repeats from round 2 on",
    )
    extra_images: Whole = Field(default=0, description="images used beyond the selection")

    def idle(self) -> set[str]:
        return {"minimum_per_class"} if self.scope == "global" else set()


class ThresholdSettings(Section):
    """Which pixels of the patches are reliable."""

    estimator: Literal["at_rank", "pooled", "rate", "none"] = Field(
        default="at_rank",
        description="tau from the first image not taken; pooled: its neighbours too; rate: each "
        "class keeps the share p of its pixels; none: all",
    )
    pool: Count = Field(default=3, description="of pooled: images on each side")
    constant_entropy: Literal["zero", "nan"] = Field(
        default="zero",
        description="where a class has one entropy in an image; nan: counts as reliable",
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

    per_image: Count = Field(default=4, description="crops of every selected image")
    scale: Scale = Field(
        default=2.0,
        description="crops of 1/scale of each side, scaled up; 1 is self-training; [1.5, 2, 3]: in "
        "turn; {from: 1, to: 3}: drawn; below 1: the whole image, scaled down; [1, {from: 0.5, to: "
        "2}]: half at 1",
    )
    reliability: Literal["nearest", "bilinear"] = Field(
        default="nearest",
        description="how the filter is scaled up; bilinear lets unsure regions shrink",
    )
    claim_images: Whole = Field(
        default=50, description="images on which the paper's claim is measured"
    )

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

    beta: NotNegative = Field(default=0.1, description="weight")
    gamma: NotNegative = Field(default=3, description="exponent of (1 - probability)")
    over: Literal["pixels", "mean"] = Field(
        default="pixels", description="or mean, of the mean loss as one number"
    )


class TeacherSettings(Section):
    """A moving average of the weights that labels the patches as they go (DACS)."""

    momentum: ShareBelowOne = Field(
        default=0,
        description="share of the average that stays at each step; 0: no teacher",
    )
    confidence: Share = Field(
        default=0.968,
        description="probability from which a pixel is sure; the share of sure pixels is the "
        "weight of a patch",
    )
    labels: Literal["hard", "soft"] = Field(
        default="hard",
        description="the most probable class; or soft: all probabilities as they are",
    )

    def idle(self) -> set[str]:
        return {"confidence", "labels"} if self.momentum == 0 else set()


class RetrainingSettings(Section):
    """Training of one round, on source images and patches."""

    epochs: Count = Field(
        default=2, description="each selected image is seen epochs x patches.per_image times"
    )
    source_batch: Count = Field(default=4, description="source images a step")
    target_batch: Count = Field(default=4, description="patches a step")
    target_weight: NotNegative = Field(
        default=1, description="of the patches' loss; 0 trains on with the source only (a control)"
    )
    source_zoom: Share = Field(
        default=0, description="share of source images that are crops scaled up by 2 (a control)"
    )
    freeze_batchnorm: Truth = Field(
        default=True, description="statistics that see patches would confound the comparison"
    )
    empty_patch: Literal["zero", "nan"] = Field(
        default="zero",
        description="loss of patches without a reliable pixel; or nan, in training.csv",
    )
    carry_optimizer: Truth = Field(
        default=False,
        description="true: the optimiser's moments go on from round to round",
    )
    focal: FocalSettings = Field(
        default=FocalSettings(), description="the focal term of the patches' loss"
    )
    optimizer: OptimizerSettings = OptimizerSettings(
        name="adam", learning_rate=3e-4, weight_decay=0
    )
    schedule: ScheduleSettings = ScheduleSettings()
    augmentation: AugmentationSettings = Field(
        default=AugmentationSettings(), description="of the source images"
    )
    target_augmentation: AugmentationSettings = Field(
        default=AugmentationSettings(), description="of the patches"
    )
    rare_classes: OptionalTemperature = Field(
        default=None, description="as in source_training, for source images and patches"
    )
    target_colors: Share = Field(
        default=0, description="share of source images in the colours of a target image"
    )
    class_mix: Share = Field(
        default=0, description="share of patches with half of a source image's classes pasted in"
    )
    label_weights: Literal["mask", "confidence"] = Field(
        default="mask", description="or confidence: all labels count, by 1 - normalised entropy"
    )
    teacher: TeacherSettings = Field(
        default=TeacherSettings(),
        description="a moving average of the weights labels the patches (DACS)",
    )
    consistency: NotNegative = Field(
        default=0, description="weight of: no contradiction between a patch and its half size"
    )
    anchor: NotNegative = Field(
        default=0, description="pull towards the source-trained weights, per learning rate"
    )


class EvaluationSettings(Section):
    """What evaluation keeps beside the numbers."""

    pictures: Annotated[int, Field(ge=0, le=64), BeforeValidator(number)] = Field(
        default=6, description="validation images kept with their predictions, evenly spread"
    )


class ReportSettings(Section):
    """What the report shows."""

    classes: str = Field(
        default="all",
        description="of the headline: all, or a subset of them, such as 16 classes",
    )
    gallery: Annotated[int, Field(ge=0, le=64), BeforeValidator(number)] = Field(
        default=4, description="images shown with every experiment's prediction"
    )


class RequestSettings(Section):
    """What a kind of job asks a scheduler for (docs/cluster.md)."""

    mem_mb: Count = Field(description="memory at its first try; half as much more at each other")
    runtime: Count = Field(description="minutes at its first try; twice, three times as many later")
    partition: OptionalText = Field(
        default=None, description="of the cluster; null: the cluster's default"
    )


class ResourceSettings(Section):
    """What jobs use; no result depends on it."""

    threads: Count = Field(default=2, description="of a job that runs the network")
    gpus_per_job: Count = Field(
        default=1, description="device slots of such a job: it runs in a process on each"
    )
    save_minutes: Positive = Field(default=5, description="between saved states of a long stage")
    save_steps: Annotated[Count | None, BeforeValidator(nothing)] = Field(
        default=None, description="or steps (images where there are no steps) between them"
    )
    deterministic: Truth = Field(
        default=True, description="on CUDA the same bits in every run; false takes faster kernels"
    )
    network_jobs: RequestSettings = Field(
        default=RequestSettings(mem_mb=16000, runtime=480),
        description="what jobs that run the network ask a scheduler for (docs/cluster.md)",
    )
    other_jobs: RequestSettings = Field(
        default=RequestSettings(mem_mb=8000, runtime=60), description="and all others"
    )
    max_runtime: Count = Field(
        default=1440, description="minutes that no try asks more than: the cluster's own limit"
    )
    gpu_model: OptionalText = Field(
        default=None, description="kind of GPU to ask a scheduler for, by the cluster's name of it"
    )
    account: OptionalText = Field(default=None, description="of the cluster, to be charged")


class ExperimentRow(BaseModel):
    """A named row; its other keys are the overrides."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: FolderName = Field(description="unique; names its folder and its row in the report")
    role: Literal["method", "control", "ablation", "ceiling", ""] = Field(
        default="",
        description="for the report; an ablation is set against the first method; a ceiling is "
        "trained on the target set with its labels, and has no rounds",
    )
    description: str = Field(default="", description="what it is, in words, for the report")


EXPERIMENTS = [
    ExperimentRow(
        name="lse",
        role="method",
        description="labels predicted at the original scale teach patches scaled up by 2 (the "
        "paper)",
    ),
    ExperimentRow(
        name="recommended",
        role="method",
        description="patches at their original scale, labels from two scales and mirror images, "
        "shallow batch-norm statistics that are mostly the target's (docs/recipe.md)",
        patches={"scale": 1},
        prediction={"scales": [1, 1.1], "flip": True},
        rounds={"target_statistics": 0.75, "statistics_layers": "shallow"},
    ),
    ExperimentRow(
        name="self_training",
        role="control",
        description="the same selection and thresholds, but whole images at their original scale",
        patches={"scale": 1},
    ),
    ExperimentRow(
        name="source_zoom",
        role="control",
        description="no target loss, as many steps as its own selection gives; half of the source "
        "images are crops scaled up by 2, with true labels",
        retraining={"target_weight": 0, "source_zoom": 0.5},
    ),
    ExperimentRow(
        name="batch_norm",
        role="control",
        description="the source-only weights with batch-norm statistics of the target",
        rounds={"method": "batch_norm"},
    ),
]


class ExperimentSettings(Section):
    """All that an experiment's row may override, resolved."""

    data: DataSettings = DataSettings()
    compatibility: Literal["none", "authors_code"] = Field(
        default="none", description="authors_code: every switch as released (docs/method.md)"
    )
    network: Network = Field(
        default=CompactSettings(name="compact"),
        description="the network, and what an image is to it",
    )
    precision: PrecisionSettings = Field(
        default=PrecisionSettings(),
        description="of the network, in training and when it is asked (docs/speed.md)",
    )
    source_training: SourceTrainingSettings = SourceTrainingSettings()
    rounds: RoundsSettings = RoundsSettings()
    prediction: PredictionSettings = Field(
        default=PredictionSettings(),
        description="of the target images: whence scores, labels and entropy come",
    )
    selection: SelectionSettings = SelectionSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    patches: PatchesSettings = PatchesSettings()
    retraining: RetrainingSettings = RetrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

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

    project: FolderName = Field(
        default="streets",
        description="names results/report/<project>/ and results/experiments/<project>/",
    )
    seeds: list[Whole] = Field(
        default=[0],
        min_length=1,
        description="one training of everything per seed; several give mean and sd",
    )
    experiments: list[ExperimentRow] = Field(
        default=EXPERIMENTS,
        min_length=1,
        description="each row is the configuration above with its own overrides; source-only is "
        "round 0 of each",
    )
    report: ReportSettings = ReportSettings()
    code: dict[str, Literal["pinned"]] = Field(
        default={},
        description="{train_source: pinned} keeps results over harmless new code",
    )
    resources: ResourceSettings = Field(
        default=ResourceSettings(), description="these have no say in any result's name"
    )


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
