"""The plan: experiments x seeds x rounds -> stages with keys, inputs and settings.

Every stage lives in `results/<stage>/<key>/`. The key is a digest of all that determines its files:
settings, code, the keys of its inputs, and for data the content of the files. Equal stages of two
experiments are one stage. Neither torch nor pandas is imported here.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from scalewise import config as configuration
from scalewise.artifacts.atomic import write_text
from scalewise.config import Experiment, Project, StreetsSet
from scalewise.publishing import REPORT_FILES
from scalewise.taxonomy import IGNORE

RESULTS = "results"
SETTINGS_FILE = "settings.json"

# stage -> the files that it writes beside settings.json
OUTPUTS = {
    "make_streets": ("files.csv",),
    "scan_images": ("images.csv", "problems.csv"),
    "scan_labels": ("labels.csv", "problems.csv"),
    "check_data": ("verdict.txt",),
    "train_source": ("model.safetensors", "training.csv"),
    "import_weights": ("model.safetensors", "weights.csv"),
    "reestimate_batchnorm": ("model.safetensors",),
    "score_target": ("scores.csv", "predictions.h5", "source.csv"),
    "select_images": ("selected.csv",),
    "infer_patches": ("patches.h5",),
    "compute_thresholds": ("thresholds.csv",),
    "check_round": ("health.csv",),
    "audit_pseudo_labels": ("audit.csv",),
    "retrain": ("model.safetensors", "training.csv", "optimizer.safetensors"),
    "accept_round": (
        *("model.safetensors", "scores.csv", "predictions.h5", "source.csv"),
        "accepted.csv",
    ),
    "evaluate": ("confusion.csv", "iou.csv", "pictures.h5", "pictures.png"),
    "report": REPORT_FILES,
}
AUDIT = "audit_pseudo_labels"
NETWORK_STAGES = frozenset(
    {
        "train_source",
        "reestimate_batchnorm",
        "score_target",
        "infer_patches",
        "retrain",
        "evaluate",
    }
)
# stages of a round that say whether it is sound: of the network that labels, and of what it makes
CHECKS = ("check_round", "check_result")
# settings of retraining that say nothing where no patch is read
_FOR_PATCHES = frozenset(
    {
        *("focal", "empty_patch", "target_augmentation"),
        *("class_mix", "label_weights", "teacher", "consistency"),
    }
)
PINNABLE = frozenset(OUTPUTS) - {"report", "check_data"}


def folder_of(stage: str) -> str:
    """Folder of a stage's results. `results/report/` is where people find a project's report, so
    the reports themselves, by key, live beside it."""
    return f"{RESULTS}/{'reports' if stage == 'report' else stage}"


class Shared(dict):
    """Part of many stages' descriptions, which is written out once."""

    @cached_property
    def text(self) -> str:
        return json.dumps(self, indent=1, sort_keys=True).replace("\n", "\n ")


def description_of(stage: str, key: str) -> str:
    """The file that tells the script of a stage what to do."""
    return f"{RESULTS}/plans/stages/{stage}/{key}.json"


def digest(content: object) -> str:
    """Key of plain JSON content: the first 16 hexadecimal digits of its SHA-256."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source_size(data: configuration.DataSettings) -> list[int]:
    """Working height and width of the source images in training."""
    return list(data.source_size or data.size)


# experiment, seed and round that need a stage; what comes before the rounds has no round
User = tuple[str, int, int | None]


@dataclass(frozen=True)
class Source:
    """One input of a stage: a file of another stage."""

    stage: "Stage"
    file: str

    @property
    def path(self) -> str:
        return f"{self.stage.folder}/{self.file}"


@dataclass
class Stage:
    """One job of the DAG.

    settings: plain JSON values that determine the result; inputs: role -> file(s) of other stages;
    contents: role -> digest of data files; locations: where things are on this machine, which
    determines nothing; after: stages to wait for, which determine nothing either; users: the
    experiments, seeds and rounds that need it; own_key: the key where the code is not pinned;
    code_files: path -> digest; config_of: a user, or None -> the whole configuration of it.
    """

    name: str
    key: str
    code: str
    settings: dict
    inputs: dict[str, Source | list[Source]]
    contents: dict[str, str]
    identity: str
    what: str
    locations: dict[str, str] = field(default_factory=dict)
    after: list["Stage"] = field(default_factory=list)
    users: dict[User, None] = field(default_factory=dict)
    own_key: str = ""
    code_files: Mapping[str, str] = field(default_factory=dict)
    config_of: Callable[[User | None], dict] = lambda user: {}

    @property
    def folder(self) -> str:
        return f"{folder_of(self.name)}/{self.key}"

    @property
    def outputs(self) -> list[str]:
        return [f"{self.folder}/{name}" for name in (*OUTPUTS[self.name], SETTINGS_FILE)]

    @property
    def sources(self) -> list[Source]:
        flat = []
        for value in self.inputs.values():
            flat.extend(value if isinstance(value, list) else [value])
        return flat

    @property
    def description_path(self) -> str:
        return description_of(self.name, self.key)

    @property
    def title(self) -> str:
        """What the job is, in words: experiment, seed, round, step."""
        users = list(self.users)
        if not users:
            return self.what
        experiment, seed, round_number = users[0]
        names = list(dict.fromkeys(name for name, _, _ in users))
        label = experiment if len(names) == 1 else f"{experiment} (+{len(names) - 1})"
        if seed is not None:
            label += f", seed {seed}"
        if round_number is not None:
            label += f", round {round_number}"
        return f"{label}: {self.what}"

    def description(self) -> dict:
        """The file that tells the stage's script what to do."""

        def place(source: Source) -> dict:
            return {"stage": source.stage.name, "key": source.stage.key, "path": source.path}

        return {
            "stage": self.name,
            "key": self.key,
            "title": self.title,
            "folder": self.folder,
            "settings": self.settings,
            "inputs": {
                role: [place(s) for s in value] if isinstance(value, list) else place(value)
                for role, value in self.inputs.items()
            },
            "contents": self.contents,
            "code": self.code,
            "code_files": self.code_files,
            "identity": self.identity,
            "locations": self.locations,
            "users": [list(user) for user in self.users],
            "config": self.config_of(next(iter(self.users), None)),
        }


@dataclass(frozen=True)
class Round:
    """The stages of one round of one experiment and seed; round 0 is source-only. They go by their
    names; the last round also has `score_result` and `check_result`, of the network it made, and
    where rounds may be reverted each has, with `accept_round`."""

    experiment: str
    seed: int
    number: int
    stages: dict[str, Stage]

    @property
    def checks(self) -> dict[str, Stage]:
        """Which check -> its stage."""
        return {name: self.stages[name] for name in CHECKS if name in self.stages}


@dataclass(frozen=True)
class DataFiles:
    """What the data index says of one set: digests of its images and of its labels, and the files
    that list them (`None` where the set is drawn by a stage)."""

    images: str | None
    labels: str | None
    image_index: str | None = None
    label_index: str | None = None


class Plan:
    """All stages of a project, by name and key; `rounds` says who needs which."""

    def __init__(
        self,
        project: Project,
        code: Callable[[str], str],
        files: Callable[[configuration.Layout, bool], DataFiles],
        weights: Callable[[str, Path, str | None], str],
        finished: Callable[[str], Mapping[str, str]] = lambda stage: {},
        code_files: Callable[[str], Mapping[str, str]] = lambda stage: {},
    ):
        """
        Args:
            project: checked settings.
            code: stage name -> digest of its code.
            files: layout, labels wanted -> digests of its content.
            weights: setting, file of weights, its SHA-256 if that is given -> hash of its content.
            finished: stage name -> identity -> key of a finished result, for pinned stages.
            code_files: stage name -> path -> digest of all files of its code.

        Raises: ConfigError when `code:` names no stage.
        """
        self.project = project
        self.stages: dict[tuple[str, str], Stage] = {}
        self.rounds: list[Round] = []
        # (name, key) of the stages that were finished when the DAG was built: see `workflow.begin`
        self.finished_before: set[tuple[str, str]] = set()
        self._code, self._files, self._weights = cache(code), files, weights
        self._finished = cache(finished)
        self._code_files = cache(lambda stage: Shared(code_files(stage)))
        self._config_of = cache(lambda *who: Shared(configuration.resolved(project, *who)))
        self._pinned = project.settings.code
        self._scans: dict[str, Stage] = {}  # key -> scan that the check of the data reads
        # each rule of selecting, with the smallest portion, whose that is, and what it selects from
        self._selections: dict[str, tuple[float, dict, str, Source, Source]] = {}
        for name in self._pinned:
            if name not in PINNABLE:
                raise configuration.ConfigError(
                    f"code.{name}: no such stage; one of {', '.join(sorted(PINNABLE))}"
                )
        self._classes = configuration.taxonomy(project.settings.data)
        for experiment in project.experiments:
            for seed in project.settings.seeds:
                self._add_experiment(experiment, seed)
        self.check = self._add_check()
        for stage in self.stages.values():
            if stage.name in NETWORK_STAGES:
                stage.after.append(self.check)
        self.report = self.add_report(self.rounds, [])

    # --- building ---------------------------------------------------------------------------------

    def _add(
        self,
        name: str,
        what: str,
        settings: Mapping,
        inputs: Mapping[str, Source | list[Source]] | None = None,
        contents: Mapping[str, str] | None = None,
        locations: Mapping[str, str] | None = None,
        user: User | None = None,
    ) -> Stage:
        inputs, contents = dict(inputs or {}), dict(contents or {})

        def keys(value: Source | list[Source]):
            if isinstance(value, list):
                return [keys(item) for item in value]
            return [value.stage.name, value.stage.key, value.file]

        determined = {
            "stage": name,
            "settings": settings,
            "inputs": {role: keys(value) for role, value in inputs.items()},
            "contents": contents,
        }
        identity, code = digest(determined), self._code(name)
        key = own_key = digest({**determined, "code": code})
        if self._pinned.get(name) == "pinned":
            key = self._finished(name).get(identity, key)
        stage = self.stages.get((name, key))
        if stage is None:
            stage = Stage(
                name, key, code, dict(settings), inputs, contents, identity, what,
                locations=dict(locations or {}), own_key=own_key,
                code_files=self._code_files(name), config_of=self._config,
            )  # fmt: skip
            self.stages[name, key] = stage
        if user is not None:
            stage.users.setdefault(user)
        return stage

    def _config(self, user: User | None) -> dict:
        return self._config_of(*(user[:2] if user else ()))

    def _set(self, data, which: str, labels: bool, checked: bool = True) -> dict[str, Source]:
        """Add the scans of a data set; labels are looked at only where they are asked for. What
        is not `checked` is no concern of the check of the data, which all training waits for."""
        dataset = getattr(data, which)
        layout = configuration.layout(data, dataset)
        inputs, image_contents, label_contents = {}, {}, {}
        places, label_places = {}, {}
        if isinstance(dataset, StreetsSet):
            drawn = self._add(
                "make_streets",
                f"drawing {dataset.images} streets, style of the {which} set",
                {
                    "images": dataset.images,
                    "seed": dataset.seed,
                    "split": dataset.split,
                    "size": list(data.size),
                    "style": dict(sorted(dataset.style.items())),
                },
            )
            inputs["drawn"] = Source(drawn, "files.csv")
            places["root"] = drawn.folder
        else:
            found = self._files(layout, labels)
            image_contents["images"] = found.images
            places.update(root=str(layout.root), image_index=found.image_index)
            if labels:
                label_contents["labels"] = found.labels
                label_places["label_index"] = found.label_index
        where = "" if layout.root is None else f" of {layout.root}"
        images = self._add(
            "scan_images",
            f"looking at the {which} images{where}",
            {"images": layout.images},
            inputs,
            image_contents,
            places,
        )
        images.locations.update(places)
        result = {"images": Source(images, "images.csv")}
        scans = [images]
        if labels:
            scanned = self._add(
                "scan_labels",
                f"looking at the {which} labels{where}",
                {
                    "images": layout.images,
                    "labels": layout.labels,
                    "format": layout.format,
                    "label_ids": {str(i): c for i, c in sorted(layout.label_ids.items())},
                    "classes": list(self._classes.names),
                    "declared": [n for n in self._classes.names if n in layout.classes],
                    "ignore": IGNORE,
                },
                {**inputs, **result},
                label_contents,
                {**places, **label_places},
            )
            result["labels"] = Source(scanned, "labels.csv")
            scans.append(scanned)
        if checked:
            self._scans.update((scan.key, scan) for scan in scans)
        return result

    @staticmethod
    def _roots(**sets: dict[str, Source]) -> dict[str, str]:
        return {name: files["images"].stage.locations["root"] for name, files in sets.items()}

    def _add_experiment(self, experiment: Experiment, seed: int) -> None:
        s, data = experiment.settings, experiment.settings.data
        name = experiment.name
        source = self._set(data, "source", labels=True)
        target = self._set(data, "target", labels=False)
        validation = self._set(data, "validation", labels=True)
        classes = list(self._classes.names)
        precision = s.precision.in_effect()

        def labelled(prefix: str, files: dict[str, Source]) -> dict:
            return {f"{prefix}_{role}": file for role, file in files.items()}

        def decoding(files: dict[str, Source]) -> dict:
            return files["labels"].stage.settings["label_ids"]

        def evaluate(model: Source, number: int) -> Stage:
            return self._add(
                "evaluate",
                "evaluating on the validation set",
                {
                    "classes": classes,
                    "colors": [list(c) for c in self._classes.colors],
                    "label_ids": decoding(validation),
                    "precision": precision,
                    **s.evaluation.model_dump(mode="json"),
                },
                {"model": model, **labelled("validation", validation)},
                locations=self._roots(validation=validation),
                user=(name, seed, number),
            )

        def score(model: Source, what: str, number: int) -> Stage:
            return self._add(
                "score_target",
                what,
                {
                    "classes": classes,
                    "constant_entropy": s.threshold.constant_entropy,
                    # which pixels teach has no say in how sure the network is
                    "prediction": s.prediction.in_effect("agreement"),
                    "label_ids": decoding(source),
                    "precision": precision,
                },
                {
                    "model": model,
                    "target_images": target["images"],
                    **labelled("source", source),
                },
                locations=self._roots(target=target, source=source),
                user=(name, seed, number),
            )

        def reestimate(model: Source, share: float, layers: str, number: int) -> Stage:
            return self._add(
                "reestimate_batchnorm",
                "re-estimating batch-norm statistics on the target",
                # 1 and 1.0 would be two keys
                {"share": float(share), "layers": layers, "precision": precision},
                {"model": model, "target_images": target["images"]},
                locations=self._roots(target=target),
                user=(name, seed, number),
            )

        def check(what: str, number: int, now: dict, before: dict) -> Stage:
            compared = ("predictions", "source")  # of no use by themselves
            return self._add(
                "check_round",
                what,
                {
                    "classes": classes,
                    "limits": s.rounds.health.in_effect(),
                    "on_collapse": s.rounds.on_collapse,
                },
                {
                    **{r: f for r, f in now.items() if before or r not in compared},
                    **{f"previous_{r}": f for r, f in before.items() if r != "source"},
                    **({"first_source": first} if before else {}),
                },
                user=(name, seed, number),
            )

        def accept(number: int, checks: list[Stage], made: dict, before: dict) -> Stage:
            return self._add(
                "accept_round",
                "accepting what the round made, unless a check warns",
                {"round": number},
                {
                    "health": [Source(stage, "health.csv") for stage in checks],
                    **made,
                    **{f"previous_{role}": file for role, file in before.items()},
                    **({"previous": accepted} if accepted else {}),
                },
                user=(name, seed, number),
            )

        def audit(patches: Source, thresholds: Source, user: User) -> Stage:
            labels = self._set(data, "target", labels=True, checked=False)["labels"]
            return self._add(
                AUDIT,
                "setting the pseudo-labels against labels",
                {
                    "classes": classes,
                    "size": list(data.size),
                    "label_ids": labels.stage.settings["label_ids"],
                    "constant_entropy": s.threshold.constant_entropy,
                },
                {
                    "patches": patches,
                    "thresholds": thresholds,
                    "target_images": target["images"],
                    "target_labels": labels,
                    "problems": Source(labels.stage, "problems.csv"),
                },
                locations=self._roots(target=target),
                user=user,
            )

        begun = self._begin(s, seed, source, user=(name, seed, None))
        model = source_model = Source(begun, "model.safetensors")
        self.rounds.append(
            Round(name, seed, 0, {begun.name: begun, "evaluate": evaluate(model, 0)})
        )
        thresholds: Source | None = None
        first: Source | None = None  # how the network that the rounds begin with does on the source
        said: dict[str, Source] = {}  # what the network of the round before said of the target
        optimizer: Source | None = None
        accepted: Source | None = None  # whose weights went on, where rounds may be reverted
        for number in range(1, s.round_count + 1):
            user = (name, seed, number)
            stages: dict[str, Stage] = {}
            if s.rounds.method == "batch_norm":
                stages["reestimate_batchnorm"] = adapted = reestimate(model, 1, "all", number)
            else:
                if number == 1 and s.rounds.target_statistics > 0:
                    which = s.rounds.target_statistics, s.rounds.statistics_layers
                    stages["reestimate_batchnorm"] = mixed = reestimate(model, *which, number)
                    model = Source(mixed, "model.safetensors")
                if accepted:
                    scored = accepted.stage
                else:
                    scored = score(model, "scoring the target images", number)
                    stages["score_target"] = scored
                first = first or Source(scored, "source.csv")
                selecting = {
                    "classes": classes,
                    "portion": s.rounds.portion_list[number - 1],
                    **s.selection.in_effect("resample", "extra_images"),
                }
                rule = {k: v for k, v in selecting.items() if k not in ("portion", "min_pixels")}
                which = digest([rule, target["images"].path, source["labels"].path])
                portion, who = selecting["portion"], f"{name}, round {number}"
                if which not in self._selections or portion < self._selections[which][0]:
                    from_what = (target["images"], source["labels"])
                    self._selections[which] = (portion, rule, who, *from_what)
                scores = Source(scored, "scores.csv")
                stages["select_images"] = selected = self._add(
                    "select_images",
                    f"selecting confident images, p = {selecting['portion']:g}",
                    selecting,
                    {"scores": scores, "source_labels": source["labels"]},
                    user=user,
                )
                selection = Source(selected, "selected.csv")
                retraining = s.retraining.in_effect(*_FOR_PATCHES)
                inputs = {"model": model, "selected": selection, **labelled("source", source)}
                if s.retraining.target_weight > 0:
                    stages["infer_patches"] = inferred = self._add(
                        "infer_patches",
                        f"cutting and labelling patches, {s.patches.scale_text}",
                        {
                            "classes": classes,
                            "seed": seed,
                            "round": number,
                            "constant_entropy": s.threshold.constant_entropy,
                            "prediction": s.prediction.in_effect(),
                            "precision": precision,
                            # the released program draws anew from its second round on
                            "resample": s.selection.resample and number > 1,
                            "extra_images": s.selection.extra_images,
                            **s.patches.in_effect("reliability"),
                        },
                        {"model": model, "selected": selection, "target_images": target["images"]},
                        locations=self._roots(target=target),
                        user=user,
                    )
                    patches = Source(inferred, "patches.h5")
                    stages["compute_thresholds"] = computed = self._add(
                        "compute_thresholds",
                        "computing the entropy thresholds",
                        {**selecting, **s.threshold.in_effect()},
                        {
                            "scores": scores,
                            "patches": patches,
                            "source_labels": source["labels"],
                            **({"previous": thresholds} if thresholds else {}),
                        },
                        user=user,
                    )
                    thresholds = Source(computed, "thresholds.csv")
                    inputs.update(patches=patches, thresholds=thresholds)
                    says = {**_said(scored), "thresholds": thresholds}
                    # an accepted network was checked when it was made
                    seen = {} if accepted else said
                    stages["check_round"] = check("checking for collapse", number, says, seen)
                    said = says
                    if data.target.audit:
                        stages[AUDIT] = audit(patches, thresholds, user)
                    retraining.update(
                        reliability=s.patches.reliability,
                        constant_entropy=s.threshold.constant_entropy,
                        **{
                            name: value
                            for name, value in s.retraining.in_effect().items()
                            if name in _FOR_PATCHES
                        },
                    )
                locations = self._roots(source=source)
                if s.retraining.target_colors > 0:
                    inputs["target_images"] = target["images"]
                    locations.update(self._roots(target=target))
                    retraining["size"] = list(data.size)
                own_statistics = s.rounds.target_statistics > 0
                if own_statistics or s.retraining.anchor > 0:
                    inputs["source_model"] = source_model
                if s.retraining.carry_optimizer and optimizer:
                    inputs["optimizer"] = optimizer
                stages["retrain"] = adapted = self._add(
                    "retrain",
                    "retraining" if s.retraining.target_weight > 0 else "training on, source only",
                    {
                        "classes": classes,
                        "seed": seed,
                        "round": number,
                        "label_ids": decoding(source),
                        "source_size": source_size(data),
                        "per_image": s.patches.per_image,
                        "extra_images": s.selection.extra_images,
                        "own_statistics": own_statistics,
                        "precision": precision,
                        **retraining,
                    },
                    inputs,
                    locations=locations,
                    user=user,
                )
                optimizer = Source(adapted, "optimizer.safetensors")
                if "check_round" in stages and stages["check_round"] not in adapted.after:
                    adapted.after.append(stages["check_round"])
            begun_with, model = model, Source(adapted, "model.safetensors")
            revert = bool(said) and s.rounds.on_collapse == "revert"
            if said and (revert or number == s.round_count):
                # the last round is the result, and no round follows that would look at it
                which = "the result" if number == s.round_count else "what the round made"
                stages["score_result"] = scored = score(
                    model, f"scoring the target images with {which}", number
                )
                before = {role: file for role, file in said.items() if role != "thresholds"}
                stages["check_result"] = check(
                    f"checking {which} for collapse", number, _said(scored), before
                )
                if revert:
                    stages["accept_round"] = stage = accept(
                        number,
                        [stages["check_round"], stages["check_result"]],
                        {"model": model, **_said(scored)},
                        {"model": begun_with, **before},
                    )
                    accepted = Source(stage, "accepted.csv")
                    model = Source(stage, "model.safetensors")
            stages["evaluate"] = evaluate(model, number)
            self.rounds.append(Round(name, seed, number, stages))

    def _begin(self, s, seed: int, source: dict[str, Source], user: tuple) -> Stage:
        """Add what makes the model of round 0: training on the source, or a file of weights."""
        training = s.source_training
        weights = training.weights or s.network.weights
        settings = {
            "classes": list(self._classes.names),
            "size": list(s.data.size),
            "network": s.network.in_effect("weights"),
        }
        contents, locations = {}, {}
        if weights:
            section = "source_training" if training.weights else "network"
            path = configuration.data_path(s.data, weights.file)
            settings["weights"] = weights.in_effect("file", "sha256")
            contents["weights"] = self._weights(f"{section}.weights", path, weights.sha256)
            locations["weights"] = str(path)
        if training.weights:
            what = "reading the source-trained weights"
            return self._add("import_weights", what, settings, {}, contents, locations, user)
        return self._add(
            "train_source",
            f"training on the source, {training.steps} steps",
            {
                **settings,
                "seed": seed,
                "source_size": source_size(s.data),
                "label_ids": source["labels"].stage.settings["label_ids"],
                "precision": s.precision.in_effect(),
                **training.in_effect("weights"),
            },
            {f"source_{role}": file for role, file in source.items()},
            contents,
            {**self._roots(source=source), **locations},
            user,
        )

    def _add_check(self) -> Stage:
        scans = list(self._scans.values())
        warnings = [
            line
            for experiment in self.project.experiments
            for line in configuration.class_warnings(experiment.settings.data)
        ]
        selections = list(self._selections.values())
        return self._add(
            "check_data",
            "checking what the scans of the data found",
            {
                "on_problem": self.project.settings.data.on_problem,
                "warnings": list(dict.fromkeys(warnings)),
                "selections": [{**rule, "portion": p} for p, rule, *_ in selections],
            },
            {
                "problems": [Source(s, "problems.csv") for s in sorted(scans, key=lambda s: s.key)],
                "targets": [images for *_, images, _ in selections],
                "sources": [labels for *_, labels in selections],
            },
            locations={
                **{s.key: s.what.removeprefix("looking at ") for s in scans},
                **{f"selection {k}": who for k, (_, _, who, _, _) in enumerate(selections)},
            },
        )

    def add_report(
        self,
        rounds: list[Round],
        missing: list[dict],
        checked: bool = True,
        unchecked: Sequence[dict] = (),
        audited: Callable[[Stage], bool] = lambda stage: True,
    ) -> Stage:
        """Add the report over these rounds; `missing` tells of those that are not finished,
        `checked` whether it reads what the check of the data says, `unchecked` of the checks of
        rounds that are not finished, with the name of the check, `audited` which audits it
        reads."""
        settings = self.project.settings
        taxonomy = self._classes
        taught, measured = (
            configuration.layout(settings.data, dataset).classes
            for dataset in (settings.data.source, settings.data.validation)
        )

        not_there = [
            tuple(c[k] for k in ("experiment", "seed", "round", "check")) for c in unchecked
        ]
        checks = {
            who: stage
            for r in self.rounds
            for name, stage in r.checks.items()
            if (who := (r.experiment, r.seed, r.number, name)) not in not_there
        }

        audits = [r for r in self.rounds if AUDIT in r.stages and audited(r.stages[AUDIT])]

        def describe(which: str) -> str:
            dataset = getattr(settings.data, which)
            if isinstance(dataset, StreetsSet):
                return f"{dataset.images} procedural streets (seed {dataset.seed})"
            return f"{dataset.root} ({dataset.format})"

        return self._add(
            "report",
            "writing the report",
            {
                "project": settings.project,
                "classes": list(taxonomy.names),
                "colors": [list(c) for c in taxonomy.colors],
                "subsets": {name: list(names) for name, names in taxonomy.subsets.items()},
                "experiments": [
                    {
                        "name": e.name,
                        "role": e.role,
                        "description": e.description,
                        "differences": {
                            k: json.dumps(v, sort_keys=True) for k, v in e.differences.items()
                        },
                        "rounds": e.settings.round_count,
                        "uses_target": e.settings.uses_target or e.role == "ceiling",
                    }
                    for e in self.project.experiments
                ],
                "evaluations": [[r.experiment, r.seed, r.number] for r in rounds],
                # What the page takes from them where it is still there. They are no inputs: what
                # was cleared away, weights or patches by the gigabyte, must not be made again for
                # a page.
                "stages": [{n: s.folder for n, s in r.stages.items()} for r in rounds],
                "formats": {
                    which: getattr(settings.data, which).format
                    for which in ("source", "target", "validation")
                },
                "missing": missing,
                "checks": [list(who) for who in checks],
                "unchecked": list(unchecked),
                "audits": [[r.experiment, r.seed, r.number] for r in audits],
                "data": {
                    which: describe(which) + self._elsewhere(which)
                    for which in ("source", "target", "validation")
                },
                "rounds": settings.round_count,
                "portions": settings.rounds.portion_list,
                "pinned": sorted(settings.code),
                "headline": settings.report.classes,
                "untaught": [c for c in taxonomy.names if c in measured - taught],
                "gallery": settings.report.gallery,
            },
            {
                **({"check": Source(self.check, "verdict.txt")} if checked else {}),
                "iou": [Source(r.stages["evaluate"], "iou.csv") for r in rounds],
                "confusion": [Source(r.stages["evaluate"], "confusion.csv") for r in rounds],
                "pictures": [Source(r.stages["evaluate"], "pictures.h5") for r in rounds],
                "health": [Source(stage, "health.csv") for stage in checks.values()],
                "audit": [Source(r.stages[AUDIT], "audit.csv") for r in audits],
            },
        )

    def _elsewhere(self, which: str) -> str:
        """A word for the report where some experiment has other data."""
        rows = [
            e.name
            for e in self.project.experiments
            if any(key.startswith(f"data.{which}") for key in e.differences)
        ]
        return f" (but not in {', '.join(rows)}: see the differences)" if rows else ""

    # --- on disk ----------------------------------------------------------------------------------

    def stage(self, name: str, key: str) -> Stage:
        """Raises KeyError with a message when the plan has no such stage."""
        try:
            return self.stages[name, key]
        except KeyError:
            raise KeyError(f"{RESULTS}/{name}/{key}: no stage of this configuration") from None

    def _recorded(self) -> dict:
        return {
            "project": self.project.name,
            "experiments": [e.name for e in self.project.experiments],
            "seeds": self.project.settings.seeds,
            "stages": sorted(f"{name}/{key}" for name, key in self.stages),
        }

    @property
    def record_path(self) -> Path:
        """The file that this plan is written to."""
        return Path(f"{RESULTS}/plans/{self.project.name}-{digest(self._recorded())}.json")

    def record(self) -> None:
        """Write the stages' descriptions, this plan, and the links for people. Idempotent."""
        for stage in self.stages.values():
            write_description(stage)
        _write_if_new(self.record_path, self._recorded())
        self._link()

    def _link(self) -> None:
        base = Path(RESULTS, "experiments", self.project.name)
        wanted: dict[str, str] = {}
        for r in self.rounds:
            folder = f"{base}/{r.experiment}/seed{r.seed}/round{r.number}"
            for name, stage in r.stages.items():
                wanted[f"{folder}/{name}"] = f"../../../../../{stage.name}/{stage.key}"
        found = map(str, base.glob("*/*/*/*"))
        present = {path: os.readlink(path) for path in found if os.path.islink(path)}
        for path in present.keys() - wanted.keys():
            os.unlink(path)
        for path, link in wanted.items():
            if present.get(path) != link:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                Path(path).unlink(missing_ok=True)
                os.symlink(link, path)
        for depth in ("*/*/*", "*/*", "*"):
            for folder in base.glob(depth):
                if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                    folder.rmdir()


def _said(scored: Stage) -> dict[str, Source]:
    """What a network says of the target, by role."""
    return {
        "scores": Source(scored, "scores.csv"),
        "predictions": Source(scored, "predictions.h5"),
        "source": Source(scored, "source.csv"),
    }


def write_description(stage: Stage) -> None:
    """Write the file that tells the stage's script what to do."""
    _write_if_new(Path(stage.description_path), stage.description())


_compact = json.JSONEncoder(sort_keys=True).encode


def _written(content: Mapping) -> str:
    """JSON with a line for each value, and for each value of these. `json.dumps` with an indent
    takes ten times as long, and a large plan has thousands of descriptions."""

    def value(of: object) -> str:
        if isinstance(of, Shared):
            return of.text
        if not of or not isinstance(of, dict):
            return _compact(of)
        lines = (f"\n  {_compact(name)}: {_compact(inner)}" for name, inner in sorted(of.items()))
        return "{" + ",".join(lines) + "\n }"

    return "{" + ",".join(f'\n "{k}": {value(v)}' for k, v in sorted(content.items())) + "\n}\n"


def _write_if_new(path: Path, content: Mapping) -> None:
    text = _written(content)
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    # nothing waits for the disk: what a power cut took is written anew by the next run
    write_text(path, text, durable=False)


def finished_results(stage: str) -> dict[str, str]:
    """Identity (all but the code) -> key of the newest finished result, of one kind of stage."""
    found = []
    for path in Path(folder_of(stage)).glob(f"*/{SETTINGS_FILE}"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if all((path.parent / name).exists() for name in OUTPUTS[stage]):
            found.append((content.get("finished", ""), path.parent.name, content.get("identity")))
    return {identity: key for _, key, identity in sorted(found, key=lambda f: f[:2])}
