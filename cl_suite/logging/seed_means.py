"""The mean of a pair's seeds in TensorBoard, as a run of its own beside theirs.

TensorBoard gives each run a colour of its own and has no shades for seeds. Its margin charts draw
a mean with a band, of three series of one run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_suite.errors import UserError
from cl_suite.logging.curve_figure import curve_figure
from cl_suite.logging.figures import to_image
from cl_suite.logging.tags import MEASURES
from cl_suite.logging.tensorboard import Dashboard
from cl_suite.runs.config import RunConfig
from cl_suite.runs.flat import flatten
from cl_suite.runs.folder import RunFolder, SessionRecord
from cl_suite.runs.same_settings import changes_results
from cl_suite.storage.files import make_folder

FOLDER = "seeds"  # beside seed0, seed1, ...
CATEGORY = "Mean of the seeds, with the range from the lowest to the highest"
OF_A_SEED = ("start_from", "model.weights")  # settings that may name another run's seed


def show_seeds(folder: RunFolder, config: RunConfig) -> None:
    """Draw the mean of this finished run and of those that differ from it in the seed alone.

    A picture of earlier settings is removed, whether or not there is a new one.

    Raises:
        UserError: if the disk is full.
    """
    place = folder.path.parent / FOLDER
    dashboard = None
    if len(_finished_seeds(folder)) > 1:
        make_folder(place)
        dashboard = Dashboard(place)
    _remove_others(place, dashboard)
    if dashboard is None:
        return
    # read again: of two runs that end together, the one whose file is newer sees both
    found = _finished_seeds(folder)
    curves = {tag.rpartition("/")[2]: _values(name, found) for name, tag in MEASURES.items()}
    title = f"{config.scenario_name} / {config.strategy_name}"
    dashboard.margins(CATEGORY, curves)
    dashboard.picture("seeds/curves", to_image(curve_figure(curves, list(found), title)))
    dashboard.close()


def _finished_seeds(folder: RunFolder) -> dict[int, list[SessionRecord]]:
    """Return the sessions of each seed whose run is finished with this run's settings."""
    own = _settings(folder)
    found: dict[int, list[SessionRecord]] = {}
    for path in folder.path.parent.iterdir():
        if (name := re.fullmatch(r"seed(\d+)", path.name)) is None:
            continue
        # a damaged run is none of this one's business
        with contextlib.suppress(UserError, OSError):
            other = RunFolder(path)
            if other.read_run_info().get("finished") and _settings(other) == own:
                found[int(name[1])] = other.read_metrics()
    longest = max(map(len, found.values()), default=0)
    return {seed: found[seed] for seed in sorted(found) if len(found[seed]) == longest}


def _settings(folder: RunFolder) -> Mapping[str, Any]:
    """Return what decides a run's figures, apart from its seed."""
    flat = flatten(folder.read_config())
    seed = flat.pop("seed", None)
    seed = seed[0] if isinstance(seed, list) and seed else seed
    for name in OF_A_SEED:
        if isinstance(value := flat.get(name), str):
            flat[name] = value.replace(f"seed{seed}", "seed{seed}")
    drawn = folder.read_run_info().get("drawn_by_seed")
    apart = {"device", f"scenario.{drawn}"}
    return {key: value for key, value in flat.items() if key not in apart and changes_results(key)}


def _values(name: str, found: Mapping[int, Sequence[SessionRecord]]) -> NDArray[np.float64]:
    """Return a figure of all seeds and sessions, `(num_seeds, num_sessions)`, NaN: undefined."""
    rows = [[getattr(record, name) for record in records] for records in found.values()]
    return np.array(rows, dtype=np.float64)


def _remove_others(place: Path, but: Dashboard | None) -> None:
    """Remove the event files of earlier means, and the folder if nothing is left in it."""
    kept = but.events.path.name if but is not None else ""
    for path in place.glob("events.out.tfevents.*"):
        if but is None or path.name < kept:
            path.unlink(missing_ok=True)
    if but is None:
        with contextlib.suppress(OSError):
            place.rmdir()
