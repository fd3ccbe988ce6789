"""A sweep's YAML file: read, and checked for its form before any run is resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cl_suite.errors import UserError, suggestion
from cl_suite.runs.arguments import SECTIONS, read_settings, with_all_seeds
from cl_suite.runs.flat import flatten
from cl_suite.runs.sweep.distributions import Distribution, read_distribution
from cl_suite.runs.sweep.needs import NEEDS, Needs, read_needs

Figure = Literal["score", "average", "last", "harmonic"]
KEYS = (
    *("name", "output_dir", "scenarios", "strategies", "seeds", "set", "grid", "random"),
    *("samples", "sample_seed", "base", "select", "retries", *NEEDS),
)
OWN = ("grid", "random", *NEEDS)  # of one scenario or strategy, beside its settings
SELECT = ("figure", "seed", "new_classes", "test_images", "grace", "reduction")
# settings that a sweep decides by keys of its own
ELSEWHERE = {
    "seed": "seeds",
    "out": "output_dir",
    "device": "device",
    "scenario_name": "scenarios",
    "strategy_name": "strategies",
}
NEVER = ("resume", "overwrite", "config", "on_collapse")


@dataclass(frozen=True)
class Part:
    """Settings of one scenario or strategy, or of all.

    Attributes:
        name: of the scenario or strategy.
        settings: values by dotted name.
        grid, random: values to try, by dotted name.
        needs: keys of `Needs` that differ from the sweep's.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, list[Any]] = field(default_factory=dict)
    random: Mapping[str, Distribution] = field(default_factory=dict)
    needs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Select:
    """How the best of the candidates is chosen without test data.

    Attributes:
        figure: average and last accuracy, the last harmonic mean, or score: the mean of average and
            harmonic.
        seed: of the candidates' runs and of the draw of fake sessions.
        new_classes: share of the base classes that play new ones.
        test_images: images of each class that play test images, at most.
        grace: epochs of the base session before a candidate may be stopped; None: a ninth.
        reduction: one of so many candidates goes on at each rung.
    """

    figure: Figure = "score"
    seed: int = 0
    new_classes: float = 0.4
    test_images: int = 20
    grace: int | None = None
    reduction: float = 3


@dataclass(frozen=True)
class Sweep:
    """A sweep's file.

    Attributes:
        out: folder of all its runs.
        common: settings and values to try of all runs.
        base: the strategy whose base session all runs start from, with its settings.
    """

    path: Path
    name: str
    out: Path
    scenarios: tuple[Part, ...]
    strategies: tuple[Part, ...]
    seeds: tuple[int, ...]
    common: Part
    samples: int
    sample_seed: int
    retries: int
    needs: Needs
    base: Part | None = None
    select: Select | None = None


def read_sweep(path: Path, threads: int = 1) -> Sweep:
    """Return the content of a sweep's file.

    Args:
        threads: of each run, if the file does not say.

    Raises:
        UserError: for a file that cannot be read, an unknown key or a value of a wrong form.
    """
    content = read_settings(path)
    where = f"sweep file '{path}'"
    _refuse_unknown(content, KEYS, where)
    for key in ("scenarios", "strategies"):
        if not content.get(key):
            raise UserError(
                f"{where} has no {key}; name at least one, as in {key}: [{_FIRST[key]}]"
            )
    common = _part(
        "all", {key: content[key] for key in ("grid", "random") if content.get(key)}, where
    )
    name = content.get("name", path.stem)
    if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
        raise UserError(f"{where}: name must be a folder's name, got {name!r}")
    out = content.get("output_dir", f"runs/{name}")
    if not isinstance(out, str) or not out:
        raise UserError(f"{where}: output_dir must be a folder, got {out!r}")
    parts = {key: _parts(content[key], f"{where}: {key}") for key in ("scenarios", "strategies")}
    randoms = [common.random, *(part.random for both in parts.values() for part in both)]
    if any(randoms) and "samples" not in content:
        raise UserError(
            f"{where} has random but no samples; say how many to draw, as in samples: 20"
        )
    return Sweep(
        path=path,
        name=name,
        out=Path(out).expanduser().absolute(),
        scenarios=parts["scenarios"],
        strategies=parts["strategies"],
        seeds=_seeds(content.get("seeds", 0), where),
        common=Part(
            "all", _settings(content.get("set") or {}, f"{where}: set"), common.grid, common.random
        ),
        samples=_whole(content, "samples", 1, where),
        sample_seed=_whole(content, "sample_seed", 0, where, least=0),
        retries=_whole(content, "retries", 1, where, least=0),
        needs=read_needs(content, Needs(threads=threads), where),
        base=_base(content.get("base"), where),
        select=_select(content["select"], where) if "select" in content else None,
    )


_FIRST = {"scenarios": "omniglot", "strategies": "teen"}


def _refuse_unknown(content: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    for key in content:
        if key not in known:
            near = suggestion(str(key), known)
            if str(key).partition(".")[0] in SECTIONS:
                near = f"; put settings of all runs under set, as in set: {{{key}: ...}}"
            raise UserError(f"{where} has key '{key}', which is unknown{near}")


def _parts(content: object, where: str) -> tuple[Part, ...]:
    """Return the scenarios or strategies that a list names, or a mapping to their settings."""
    if isinstance(content, str):
        content = [content]
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        content = dict.fromkeys(content)
    if not isinstance(content, dict):
        raise UserError(f"{where} must be names, or names with settings, got {content!r}")
    return tuple(_part(str(name), own or {}, f"{where}.{name}") for name, own in content.items())


def _part(name: str, content: object, where: str) -> Part:
    if not isinstance(content, dict):
        raise UserError(f"{where} must be a mapping of settings, got {content!r}")
    own = {key: value for key, value in content.items() if key in OWN}
    grid, random = own.pop("grid", None) or {}, own.pop("random", None) or {}
    read_needs(own, Needs(), where)
    return Part(
        name,
        _settings({k: v for k, v in content.items() if k not in OWN}, where),
        _grid(grid, f"{where}: grid"),
        {
            key: read_distribution(value, f"{where}: random.{key}")
            for key, value in _named(random, f"{where}: random").items()
        },
        own,
    )


def _settings(content: object, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError(f"{where} must be a mapping of settings, got {content!r}")
    found: dict[str, Any] = {}
    for key, value in content.items():
        nested = key in SECTIONS and isinstance(value, dict)
        found |= flatten({key: value}) if nested else {str(key): value}
    return _named(found, where)


def _named(content: object, where: str) -> dict[str, Any]:
    """Return settings by name; raise `UserError` for one that a sweep decides itself."""
    if not isinstance(content, dict):
        raise UserError(f"{where} must be a mapping of parameters, got {content!r}")
    for key in content:
        plain = str(key).replace("-", "_")
        if plain in ELSEWHERE:
            raise UserError(
                f"{where} sets '{key}'; a sweep has the key {ELSEWHERE[plain]} for that"
            )
        if plain in NEVER:
            raise UserError(f"{where} sets '{key}', which a sweep decides itself; leave it out")
    return {str(key).replace("start-from", "start_from"): value for key, value in content.items()}


def _grid(content: object, where: str) -> dict[str, list[Any]]:
    grid = _named(content, where)
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}.{key} must be a list of values to try, got {values!r}")
        if len({repr(value) for value in values}) < len(values):
            raise UserError(f"{where}.{key} has a value twice: {values}")
    return grid


def _seeds(content: object, where: str) -> tuple[int, ...]:
    given = content if isinstance(content, list) else [content]
    words = with_all_seeds(["--seed", *map(str, given)])[1:]
    try:
        seeds = tuple(int(word) for word in words)
    except ValueError as error:
        raise UserError(f"{where}: seeds must be whole numbers, got {content!r}") from error
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(f"{where}: seeds must be distinct numbers from 0, got {content!r}")
    return seeds


def _whole(content: Mapping[str, Any], key: str, default: int, where: str, least: int = 1) -> int:
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{where}: {key} must be a whole number from {least}, got {value!r}")
    return value


def _base(content: object, where: str) -> Part | None:
    if content is None:
        return None
    parts = _parts(content, f"{where}: base")
    if len(parts) != 1 or parts[0].grid or parts[0].random:
        raise UserError(f"{where}: base must be one strategy, without values to try")
    return parts[0]


def _select(content: object, where: str) -> Select:
    where = f"{where}: select"
    if isinstance(content, str):
        content = {"figure": content}
    if not isinstance(content, dict):
        raise UserError(f"{where} must be a figure or a mapping, got {content!r}")
    _refuse_unknown(content, SELECT, where)
    figure = content.get("figure", "score")
    if figure not in get_args(Figure):
        raise UserError(
            f"{where}: figure '{figure}' is unknown{suggestion(str(figure), get_args(Figure))}"
        )
    share = _in(content, "new_classes", 0.4, 0.05, 0.9, where)
    grace = None if content.get("grace") is None else _whole(content, "grace", 1, where)
    return Select(
        figure=figure,
        seed=_whole(content, "seed", 0, where, least=0),
        new_classes=share,
        test_images=_whole(content, "test_images", 20, where),
        grace=grace,
        reduction=_in(content, "reduction", 3, 1.1, 100, where),
    )


def _in(
    content: Mapping[str, Any], key: str, default: float, low: float, high: float, where: str
) -> float:
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UserError(f"{where}: {key} must be a number in [{low}, {high}], got {value!r}")
    return float(value)
