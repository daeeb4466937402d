"""Runs that differ in nothing but their seed are one arm. What is doubtful is named and left out, never averaged in.

Settings that change how a run is watched, kept or paid for, and not what it learns, do not make an arm. Knows records
and recipes; counts and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omniopd.config import dotted
from omniopd.config.arms import makes_an_arm
from omniopd.errors import ConfigError, DataError, RunError
from omniopd.reports.comparison.seeds import Seed, kind_of, read_seed, with_before
from omniopd.runs.store import Run, open_run


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs of one setting, ascending by seed. `settings` are those in which the arms of the comparison differ."""

    name: str
    seeds: tuple[Seed, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def by_seed(self) -> dict[int, Seed]:
        return {one.seed: one for one in self.seeds}

    @property
    def budgets(self) -> tuple[int, ...]:
        """Student samples after which any of its seeds was measured, ascending."""
        return tuple(sorted({budget for one in self.seeds for budget in one.budgets}))

    @property
    def control(self) -> str:
        """Its control, "none" for an arm that is not one."""
        return self.seeds[0].recipe.objective.control


def arms_of(
    runs: Iterable[Run | str | Path], reference: str | None = None, only: Sequence[str] = ()
) -> tuple[list[Arm], list[str]]:
    """The arms, the reference first (or the first run's), and a sentence for whatever is left out or missing.

    `only`: names of the arms to take, in this order. Raises DataError where nothing can be compared or a name is not
    that of an arm.
    """
    seeds: list[Seed] = []
    problems: list[str] = []
    for given in runs:
        try:
            seeds.append(read_seed(given if isinstance(given, Run) else open_run(given)))
        except (RunError, ConfigError, DataError) as error:
            problems.append(str(error))
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            # Files of another program or a newer version: valid JSON, but not a run that can be read here.
            where = given.path if isinstance(given, Run) else given
            problems.append(f"{where} holds no run that can be read: {type(error).__name__}: {error}")
    seeds, unlike = _alike(with_before(seeds))
    grouped: dict[tuple[tuple[str, str], ...], list[Seed]] = {}
    for one in seeds:
        key = tuple((k, repr(v)) for k, v in dotted(one.recipe.as_dict()).items() if makes_an_arm(k))
        grouped.setdefault(key, []).append(one)
    arms, said = _named([part for group in grouped.values() for part in _by_name(group)])
    if not arms:
        raise DataError("there is nothing to compare: " + ("; ".join(problems) or "no run was given"))
    wanted = [_called(name, arms) for name in dict.fromkeys([reference, *only] if reference is not None else only)]
    if only:
        arms = wanted
    elif wanted:
        arms.sort(key=lambda arm: arm is not wanted[0])
    made, doubled = zip(*map(_one_per_seed, arms), strict=True)
    problems += unlike + said + [sentence for some in doubled for sentence in some]
    return list(made), problems + _missing(made)


def _alike(seeds: Sequence[Seed]) -> tuple[list[Seed], list[str]]:
    """Those measured as most of them were (as the first, of equally many), and a sentence for each other."""
    kinds: dict[Any, list[Seed]] = {}
    for one in seeds:
        kinds.setdefault(kind_of(one), []).append(one)
    if len(kinds) <= 1:
        return list(seeds), []
    main = max(kinds.values(), key=len)
    return main, [
        f"{one.run.path} is left out: it was measured on other problems, at other temperatures or with other numbers "
        "of answers than most"
        for one in seeds
        if not any(one is other for other in main)
    ]


def _by_name(group: Sequence[Seed]) -> list[list[Seed]]:
    """Runs of one setting; apart by name where two names share a seed, since something that no setting says (a teacher
    given in Python, changed code) must tell them apart then."""
    named: dict[str, list[Seed]] = {}
    for one in group:
        named.setdefault(one.recipe.name, []).append(one)
    seeds = [seed for runs in named.values() for seed in {one.seed for one in runs}]
    return [list(group)] if len(seeds) == len(set(seeds)) else list(named.values())


def _named(groups: Sequence[Sequence[Seed]]) -> tuple[list[Arm], list[str]]:
    """Arms by the names of their recipes; where settings share one, each adds those in which they differ."""
    flats = [dotted(group[0].recipe.as_dict()) for group in groups]
    names: list[str] = []
    said = _same_settings(groups, flats)
    for group in groups:
        called = list(dict.fromkeys(one.recipe.name for one in group))
        names.append(called[0])
        if len(called) > 1:
            said.append(f"{' and '.join(called)} have the same settings: they are one arm, called {called[0]}")
    full = list(names)
    for name in dict.fromkeys(names):
        same = [i for i, other in enumerate(names) if other == name]
        if len(same) > 1:
            keys = _differing([flats[i] for i in same])
            for i in same:
                full[i] = f"{name} ({', '.join(f'{_short(k, keys)}={flats[i].get(k)}' for k in keys)})"
            said.append(
                f"{len(same)} different settings are called {name}: they are kept apart by {', '.join(keys)}, and "
                "seeds of one are not averaged with those of another"
            )
    keys = _differing(flats)
    ordered = [tuple(sorted(group, key=lambda one: one.seed)) for group in groups]
    arms = [
        Arm(name, group, {k: flat.get(k) for k in keys}) for name, group, flat in zip(full, ordered, flats, strict=True)
    ]
    return arms, said


def _same_settings(groups: Sequence[Sequence[Seed]], flats: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for arms that only their names tell apart."""
    alike: dict[str, list[str]] = {}
    for group, flat in zip(groups, flats, strict=True):
        alike.setdefault(repr({k: v for k, v in flat.items() if makes_an_arm(k)}), []).append(group[0].recipe.name)
    return [
        f"{' and '.join(names)} have the same settings and share seeds: they are kept apart by their names"
        for names in alike.values()
        if len(names) > 1
    ]


def _called(name: str, arms: Sequence[Arm]) -> Arm:
    found = next((arm for arm in arms if arm.name == name), None)
    if found is None:
        raise DataError(f"no arm is called {name!r}: there are {', '.join(arm.name for arm in arms)}")
    return found


def _one_per_seed(arm: Arm) -> tuple[Arm, list[str]]:
    kept: dict[int, Seed] = {}
    problems = []
    for one in arm.seeds:
        if one.seed in kept:
            problems.append(f"{one.run.path} is left out: {kept[one.seed].run.path} has the same settings and seed")
        else:
            kept[one.seed] = one
    return replace(arm, seeds=tuple(kept.values())), problems


def _missing(arms: Sequence[Arm]) -> list[str]:
    """What an arm lacks beside the others: seeds, and for some of its seeds budgets that others of them have."""
    everything = sorted({one.seed for arm in arms for one in arm.seeds})
    lacking: dict[tuple[int, ...], list[str]] = {}
    for arm in arms:
        lacking.setdefault(tuple(s for s in everything if s not in arm.by_seed()), []).append(arm.name)
    said = [
        f"{', '.join(names)} {'lacks' if len(names) == 1 else 'lack'} {'seed' if len(seeds) == 1 else 'seeds'} "
        f"{', '.join(map(str, seeds))}: differences use the seeds that both have"
        for seeds, names in lacking.items()
        if seeds
    ]
    for arm in arms:
        for budget in arm.budgets:
            without = [str(one.seed) for one in arm.seeds if budget not in one.at]
            if without:
                said.append(f"{arm.name} was not measured at {budget:,} student samples with seed {', '.join(without)}")
    return said


def _differing(flats: Sequence[Mapping[str, Any]]) -> list[str]:
    known = dict.fromkeys(key for flat in flats for key in flat)
    return [key for key in known if makes_an_arm(key) and len({repr(flat.get(key)) for flat in flats}) > 1]


def _short(key: str, among: Sequence[str]) -> str:
    """The last word of a setting, where that is enough to tell which."""
    last = key.rpartition(".")[2]
    return last if [other.rpartition(".")[2] for other in among].count(last) == 1 else key
