"""A study: which arms are compared on which seeds, as a TOML file says it. Reads and plans; starts nothing.

    recipe = "labels"                    # a shipped recipe, or a file beside the study
    reference = "recipe"                 # the arm that the others are compared with
    seeds = [0, 1, 2]                    # of every arm that names none of its own
    [settings]                           # of every run
    evaluation.problems = 2000
    [trials]                             # how what is tuned was chosen: on seeds that no arm reports
    seeds = [1000]
    settings = { task.test_split = "dev" }
    tried = [{ training.learning_rate = 4e-4 }, { training.learning_rate = 8e-4 }]   # the same of every arm
    [arms.recipe]
    about = "fork labels from text"      # a few words
    settings = {}                        # what the arm is
    evaluation = { at = [10, 20] }       # how this arm alone is measured
    tuned = { training.learning_rate = 8e-4 }                                        # what its trials chose
    trials = [{ objective.anchor_weight = 0.3 }]   # in place of those of every arm; ranges to search: `ranges.py`
    [arms.self_teacher]
    like = "recipe"                      # settings and tuned of that arm, no trials, and on top of them:
    settings = { objective.control = "self_teacher" }
    [slurm]                              # what a job asks SLURM for (`--executor slurm`), in submitit's words
    timeout_min = 240
    [ray]                                # what a task asks Ray for (`--executor ray`), in Ray's words
    num_cpus = 2

The later wins: recipe, [settings], the arm it is like, its settings, evaluation, tuned or trial, the settings of the
trials, the command line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omniopd.config import Recipe, assigned, dotted, load_recipe, recipe_toml, with_settings
from omniopd.errors import ConfigError
from omniopd.runs.files.atomic import make_folder, write_text
from omniopd.runs.files.folders import TRIALS
from omniopd.sweeps.job import recipe_of
from omniopd.sweeps.plan import folder_name, near
from omniopd.sweeps.ranges import Range, Search, read_ranges, read_search

_STUDY = ("recipe", "reference", "seeds", "settings", "trials", "arms", "slurm", "ray")
_ARM = ("about", "like", "seeds", "settings", "evaluation", "tuned", "trials", "ranges")
_TRIALS = ("seeds", "settings", "tried", "search", "count", "startup", "ranges")
_FIXED = ("name", "seed")  # of a run's recipe; the study says them in its own words


@dataclass(frozen=True, slots=True)
class StudyArm:
    """One arm. `settings` hold what the arm it is like passes on; what was `tuned` is kept apart from them."""

    name: str
    about: str
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    tuned: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    ranges: Mapping[str, Range] = field(default_factory=dict)  # in which a search finds its trials


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One run of a study. `trial` says what is tried; it is empty for a run that is reported."""

    arm: str
    seed: int
    recipe: Recipe
    trial: str = ""

    @property
    def place(self) -> Path:
        """The run's folder inside the sweep's."""
        run = f"{self.trial} seed={self.seed}".strip()
        return Path(TRIALS, slug(self.arm), run) if self.trial else Path(slug(self.arm), run)

    def __str__(self) -> str:
        return ", ".join([self.arm, *([self.trial] if self.trial else []), f"seed {self.seed}"])

    def prepare(self, path: Path) -> None:
        make_folder(path.parent)
        write_text(recipe_of(path), recipe_toml(self.recipe))


@dataclass(frozen=True, slots=True)
class Study:
    """A study as its file says it. `recipe` is what every run starts from, [settings] included."""

    name: str
    about: str
    reference: str
    recipe: Recipe
    arms: Mapping[str, StudyArm]
    trial_seeds: tuple[int, ...] = ()
    trial_settings: Mapping[str, Any] | None = None
    search: Search | None = None
    clusters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # [slurm] and [ray], in their own words

    def runs(
        self, arms: Sequence[str] | None = None, seeds: Sequence[int] | None = None, overrides: Sequence[str] = ()
    ) -> list[StudyRun]:
        """The runs of these arms (None: all), seed by seed, so that a sweep that is cut short can be compared.

        `seeds` take the place of every arm's own; `overrides` are `key=value` words. Raises ConfigError for what cannot
        work in any of them.
        """
        chosen = self.chosen(arms)
        own = {arm.name: tuple(seeds) if seeds is not None else arm.seeds for arm in chosen}
        in_order = dict.fromkeys(seed for seeds_of_one in own.values() for seed in seeds_of_one)
        return [
            StudyRun(arm.name, seed, self.recipe_of(arm, seed, arm.tuned, {}, overrides))
            for seed in in_order
            for arm in chosen
            if seed in own[arm.name]
        ]

    def trials(
        self, arms: Sequence[str] | None = None, seeds: Sequence[int] | None = None, overrides: Sequence[str] = ()
    ) -> list[StudyRun]:
        """The trials of these arms, in the study's order. Raises ConfigError as `runs` does; there must be some."""
        chosen = [arm for arm in self.chosen(arms) if arm.trials]
        own = tuple(seeds) if seeds is not None else self.trial_seeds
        if not chosen or not own:
            raise ConfigError(f"there is nothing to try: name trials of an arm in {self.name}, and seeds for them")
        _refuse_reported(own, self.arms.values(), self.name)
        return [
            StudyRun(arm.name, seed, self.recipe_of(arm, seed, tried, self.trial_settings or {}, overrides), tag(tried))
            for arm in chosen
            for tried in arm.trials
            for seed in own
        ]

    def chosen(self, arms: Sequence[str] | None) -> list[StudyArm]:
        """The arms of these names. Raises ConfigError for a name that no arm has."""
        for name in arms or ():
            if name not in self.arms:
                raise ConfigError(f"{self.name} has no arm {name!r}; {near(name, self.arms)}")
        return [arm for arm in self.arms.values() if arms is None or arm.name in arms]

    def tuned(self, arm: str) -> str | None:
        """Which trial of an arm is what its `tuned` says, as a tag; None where it is none of them."""
        one = self.arms[arm]
        wanted = self.recipe_of(one, 0, one.tuned, {}, ())
        return next((tag(tried) for tried in one.trials if self.recipe_of(one, 0, tried, {}, ()) == wanted), None)

    def recipe_of(
        self, arm: StudyArm, seed: int, tuned: Mapping[str, Any], last: Mapping[str, Any], overrides: Sequence[str]
    ) -> Recipe:
        given = assigned(overrides)
        _refuse_fixed(given, "the command line")
        place = f"arm {arm.name!r} of {self.name}"
        fixed = {"name": arm.name, "seed": seed}
        settings = {**arm.settings, **arm.evaluation, **tuned, **last, **given, **fixed}
        try:
            return with_settings(self.recipe, settings, place)
        except ConfigError as error:
            raise error if place in str(error) else ConfigError(f"{place}: {error}") from error


def load_study(name_or_path: str | Path) -> Study:
    """The study of a shipped name ("embedded") or of a TOML file. Raises ConfigError for what it cannot mean."""
    path = study_path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not a study: {error}; compare it with a shipped one (`omniopd recipes`)"
        ) from error
    _refuse_unknown(data, _STUDY, str(path))
    for key, kind in (("recipe", str), ("reference", str), ("arms", dict)):
        if not isinstance(data.get(key), kind):
            raise ConfigError(f"{path} needs {key}: {'tables [arms.NAME]' if kind is dict else 'a name'}")
    written = {name: _table(arm, f"arms.{name} in {path}") for name, arm in data["arms"].items()}
    seeds = _seeds(data.get("seeds", [0]), f"seeds in {path}")
    trials = _table(data.get("trials", {}), f"trials in {path}")
    _refuse_unknown(trials, _TRIALS, f"trials in {path}")
    search = read_search(trials, f"trials in {path}")
    if search is not None:
        trials = {**trials, "ranges": _table(trials.get("ranges", {}), f"trials.ranges in {path}")}
    arms = {name: _arm(name, written, seeds, trials, path) for name in written}
    _refuse_twins(arms, path)
    if data["reference"] not in arms:
        hint = near(data["reference"], arms)
        raise ConfigError(f"reference in {path} is {data['reference']!r}, no arm of it; {hint}")
    beside = path.parent / data["recipe"]
    first = text.split("\n", 1)[0]
    study = Study(
        name=path.stem,
        about=first.removeprefix("#").strip() if first.startswith("#") else "",
        reference=data["reference"],
        recipe=with_settings(
            load_recipe(beside if beside.is_file() else data["recipe"]),
            _dotted(data.get("settings", {}), f"settings in {path}"),
            f"settings of {path}",
        ),
        arms=arms,
        trial_seeds=_seeds(trials["seeds"], f"trials.seeds in {path}") if "seeds" in trials else (),
        trial_settings=_dotted(trials.get("settings", {}), f"trials.settings in {path}"),
        search=search,
        clusters={name: dict(_table(data.get(name, {}), f"{name} in {path}")) for name in ("slurm", "ray")},
    )
    _refuse_reported(study.trial_seeds, arms.values(), str(path))
    study.runs()
    _refuse_impossible_ranges(study)
    if any(arm.trials for arm in arms.values()):
        study.trials()
    return study


def study_path(name_or_path: str | Path) -> Path:
    """Where a study stands: a file, or `studies/NAME.toml` of the package. Raises ConfigError."""
    path = Path(name_or_path)
    if path.suffix == ".toml" and path.is_file():
        return path
    shipped = {file.stem: file for file in shipped_studies()}
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    hint = near(path.stem, shipped)
    raise ConfigError(f"no study {str(name_or_path)!r}: neither a TOML file nor a shipped name; {hint}")


def shipped_studies() -> list[Path]:
    """The studies that come with the package."""
    return sorted((Path(__file__).parents[1] / "studies").glob("*.toml"))


def tag(tried: Mapping[str, Any]) -> str:
    """What a trial tries, as a folder's name: `learning_rate=0.0008 anchor_weight=0.1`."""
    words = [f"{key.rpartition('.')[2]}={value}" for key, value in tried.items()]
    return folder_name(" ".join(words)) if words else "as it is"


def slug(name: str) -> str:
    """An arm's name as a folder's, in letters that every file system takes."""
    return folder_name(re.sub(r"[^\w.+=-]+", "-", name).strip("-."))


def _arm(
    name: str, written: Mapping[str, Mapping[str, Any]], seeds: tuple[int, ...], all_try: Mapping[str, Any], path: Path
) -> StudyArm:
    data, place = written[name], f"arms.{name} in {path}"
    _refuse_unknown(data, _ARM, place)
    if not isinstance(data.get("about", ""), str):
        raise ConfigError(f"about of {place} is {data['about']!r}: it must be text")
    # What is like another arm keeps what was chosen for that one.
    of_all: Mapping[str, Any] = {} if "like" in data else all_try
    tried, ranges = data.get("trials", of_all.get("tried", [])), data.get("ranges", of_all.get("ranges", {}))
    if (odd := "trials" if "search" in all_try else "ranges") in data:
        raise ConfigError(f"{odd} of {place} have no use: trials in {path} {'search' if odd == 'trials' else 'do not'}")
    if not isinstance(tried, list):
        raise ConfigError(f"trials of {place} are {tried!r}: they must be a list of tables of settings")
    arm = StudyArm(
        name=name,
        about=data.get("about", ""),
        seeds=_seeds(data["seeds"], f"seeds of {place}") if "seeds" in data else seeds,
        settings=_inherited(name, written, path, ()) | _dotted(data.get("settings", {}), f"settings of {place}"),
        evaluation={
            f"evaluation.{key}": value
            for key, value in _dotted(data.get("evaluation", {}), f"evaluation of {place}").items()
        },
        tuned=_dotted(data.get("tuned", {}), f"tuned of {place}"),
        trials=tuple(_dotted(one, f"trials of {place}") for one in tried),
        ranges=read_ranges(_table(ranges, f"ranges of {place}"), f"ranges of {place}"),
    )
    tags = [tag(one) for one in arm.trials]
    doubled = next((one for one in tags if tags.count(one) > 1), None)
    if doubled is not None:
        raise ConfigError(f"trials of {place} try {doubled} twice: take one out")
    return arm


def _inherited(
    name: str, written: Mapping[str, Mapping[str, Any]], path: Path, seen: tuple[str, ...]
) -> dict[str, Any]:
    """What the arm that this one is like passes on: its heritage, its settings, and what was tuned for it."""
    other = written[name].get("like")
    if other is None:
        return {}
    if not isinstance(other, str) or other not in written:
        raise ConfigError(f"arms.{name} in {path} is like {other!r}, no arm of it; {near(str(other), written)}")
    if other in seen or other == name:
        raise ConfigError(f"arms.{name} in {path} is like {other!r}, which is like it in turn: one must stand alone")
    place = f"arms.{other} in {path}"
    own = _dotted(written[other].get("settings", {}), f"settings of {place}")
    tuned = _dotted(written[other].get("tuned", {}), f"tuned of {place}")
    return _inherited(other, written, path, (*seen, name)) | own | tuned


def _dotted(value: Any, place: str) -> dict[str, Any]:
    """A table as dotted settings: `evaluation.samples = 1` and `"evaluation.samples" = 1` mean the same."""
    settings = dotted(_table(value, place))
    _refuse_fixed(settings, place)
    return settings


def _table(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{place} is {value!r}: it must be a table")
    return value


def _seeds(value: Any, place: str) -> tuple[int, ...]:
    whole = isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in value)
    if not whole or not value or len(set(value)) < len(value):
        raise ConfigError(f"{place} is {value!r}: it must be a list of different whole numbers from 0 on")
    return tuple(value)


def _refuse_unknown(data: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for key in data:
        if key not in known:
            raise ConfigError(f"{key} in {place} is not part of a study; {near(key, known)}")


def _refuse_fixed(settings: Mapping[str, Any], place: str) -> None:
    for key in _FIXED:
        if key in settings:
            raise ConfigError(f"{key} in {place} is not a setting of a study: an arm's name and its seeds say it")


def _refuse_reported(tried: Sequence[int], arms: Any, place: str) -> None:
    reported = {seed for arm in arms for seed in arm.seeds}
    both = next((seed for seed in tried if seed in reported), None)
    if both is not None:
        raise ConfigError(f"the trials of {place} use seed {both}, which is reported: give them seeds of their own")


def _refuse_impossible_ranges(study: Study) -> None:
    """Raises ConfigError where the lowest or the highest value of a range cannot be tried."""
    for arm in study.arms.values():
        for end in (0, 1):
            study.recipe_of(arm, 0, {key: one.ends[end] for key, one in arm.ranges.items()}, {}, ())


def _refuse_twins(arms: Mapping[str, StudyArm], path: Path) -> None:
    taken: dict[str, str] = {TRIALS: "the folder of the trials"}
    for name in arms:
        folder = slug(name).casefold()
        if not folder or folder in taken:
            other = taken.get(folder, "nothing")
            raise ConfigError(f"arms.{name!r} in {path} would share its folder with {other}: give it another name")
        taken[folder] = repr(name)
