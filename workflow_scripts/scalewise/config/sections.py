"""One model per section of the settings; the whole is `ProjectSettings`."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from scalewise.config.datasets import DataSettings
from scalewise.config.fields import (
    Count,
    FolderName,
    NotNegative,
    Number,
    Portion,
    Positive,
    Section,
    Share,
    ShareBelowOne,
    Truth,
    Whole,
    number,
    values,
)


class Preprocessing(Section):
    """What is done to an image's 0..255 values before the network sees them."""

    order: Literal["rgb", "bgr"] = Field(description="order of the channels")
    mean: Annotated[
        tuple[Number, Number, Number], values(3, "three numbers, one for each channel")
    ] = Field(description="per channel in that order, of 0..255")
    scale: Annotated[
        tuple[Positive, Positive, Positive], values(3, "three numbers, one for each channel")
    ] = Field(description="divisor, same order and unit")


class NetworkSettings(Section):
    """The network."""

    name: Literal["compact"] = Field(description="residual, dilated, ASPP, skip at 1/4")
    width: Annotated[int, Field(ge=8, le=256, multiple_of=8), BeforeValidator(number)] = Field(
        description="channels of the first layers"
    )
    dropout: ShareBelowOne = Field(description="share of features left out in training")
    preprocessing: Preprocessing


class OptimizerSettings(Section):
    """The optimiser and its rates."""

    name: Literal["adam", "adamw", "sgd"] = Field(description="adamw decouples the decay")
    learning_rate: Positive = Field(description="at the first step")
    weight_decay: NotNegative = Field(description="pull of the weights towards 0")
    momentum: ShareBelowOne = Field(description="of sgd; beta 1 of the Adams")
    beta2: ShareBelowOne = Field(description="of adam and adamw")


class ScheduleSettings(Section):
    """How the learning rate falls."""

    name: Literal["poly", "constant"] = Field(description="poly falls to 0 at the last step")
    power: Positive = Field(description="of poly: (1 - step / steps) ** power")


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


class SourceTrainingSettings(Section):
    """Training on the labelled source images (round 0)."""

    steps: Count = Field(description="batches trained on")
    batch: Count = Field(description="images a step")
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    augmentation: AugmentationSettings


class RoundsSettings(Section):
    """The rounds of adaptation."""

    method: Literal["retrain", "batch_norm"] = Field(
        description="batch_norm re-estimates statistics on the target and trains nothing"
    )
    portions: list[Portion] = Field(min_length=1, description="p of each round; one round each")


class SelectionSettings(Section):
    """Which target images are confident."""

    minimum_per_class: Whole = Field(
        description="take at least so many images of every class that is predicted"
    )
    min_pixels: Count = Field(description="fewer pixels of a class in an image do not count")


class ThresholdSettings(Section):
    """Which pixels of the patches are reliable."""

    estimator: Literal["at_rank", "pooled"] = Field(
        description="tau from the first image not taken, or pooled over its neighbours"
    )
    pool: Count = Field(description="of pooled: ranked images on each side of the rank")


class PatchesSettings(Section):
    """The crops of the selected images."""

    per_image: Count = Field(description="crops of every selected image")
    scale: Number = Field(
        json_schema_extra={"minimum": 1},
        description="crops of 1/scale of each side, scaled up; 1 is self-training",
    )
    claim_images: Whole = Field(description="images on which the paper's claim is measured")

    @field_validator("scale")
    @classmethod
    def _at_least_one(cls, value: float) -> float:
        if value <= 0:
            raise ValueError(f"must be positive; {value:g} is not. The paper's scale is 2")
        if value < 1:
            raise ValueError(f"must be 1 (the original scale) or more, not {value:g}")
        return value


class FocalSettings(Section):
    """The focal term of the patches' loss."""

    beta: NotNegative = Field(description="weight")
    gamma: NotNegative = Field(description="exponent of (1 - probability)")


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
    focal: FocalSettings
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    augmentation: AugmentationSettings = Field(description="of the source images")
    target_augmentation: AugmentationSettings = Field(description="of the patches")


class EvaluationSettings(Section):
    """What evaluation keeps beside the numbers."""

    pictures: Annotated[int, Field(ge=0, le=64), BeforeValidator(number)] = Field(
        description="validation images kept with their predictions, evenly spread"
    )


class ReportSettings(Section):
    """What the report shows."""

    gallery: Annotated[int, Field(ge=0, le=64), BeforeValidator(number)] = Field(
        description="images shown with every experiment's prediction"
    )


class ResourceSettings(Section):
    """What jobs use; no result depends on it."""

    threads: Count = Field(description="of a job that runs the network")
    gpus_per_job: Count = Field(description="device slots of a job that runs the network")
    save_minutes: Positive = Field(description="between saved states of a training")


class ExperimentRow(BaseModel):
    """A named row; its other keys are the overrides."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: FolderName = Field(description="unique; names its folder and its row in the report")
    role: Literal["method", "control", ""] = Field(default="", description="for the report")
    description: str = Field(default="", description="what it is, in words, for the report")


class ExperimentSettings(Section):
    """All that an experiment's row may override, resolved."""

    data: DataSettings
    network: NetworkSettings
    source_training: SourceTrainingSettings
    rounds: RoundsSettings
    selection: SelectionSettings
    threshold: ThresholdSettings
    patches: PatchesSettings
    retraining: RetrainingSettings
    evaluation: EvaluationSettings

    @property
    def round_count(self) -> int:
        """Re-estimated statistics depend on the weights alone: one round says it all."""
        return 1 if self.rounds.method == "batch_norm" else len(self.rounds.portions)

    @property
    def uses_target(self) -> bool:
        """Whether target images have a say in the weights, be it only in their statistics."""
        return self.rounds.method == "batch_norm" or self.retraining.target_weight > 0


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
