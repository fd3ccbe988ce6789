"""`coact` with a chosen rate, with fixed rates, and beside `simple_cil`, on six grounds.

    python benchmarks/coact_rates.py --data DATA --weights WEIGHTS [--grounds gtsrb] [--seeds 0 1 2]

The grounds in their FSCIT form (10 shots a class, the base session too), with DeiT-tiny, by cost:
62 Omniglot characters as 128-pixel images (12, then 5 x 10 classes, never mirrored), dtd, gtsrb,
mini_imagenet, caltech101, stanford_cars. Training is the strategy's and the scenario's own recipe.

DATA holds the folders `dtd_10`, `gtsrb`, `miniimagenet`, `caltech101` and `stanford_cars` in the
layouts of the scenarios, and `omniglot_small/<alphabet>/<character>/*.png`, of which the first 62
characters by name count. A ground without a folder is left out. WEIGHTS holds
`deit_tiny_patch16_224.safetensors`. Without DATA the packaged Omniglot and a tiny random network
show that the program runs.

The whole recipe on images of 224 pixels takes hours on a CPU. Twelve times cheaper, with five fixed
views of an image and adapters in the last three blocks:

    --options '{"training.precision": "bfloat16", "model.bank_dtype": "bfloat16"}'
    --tuning '{"strategy.adapt_blocks": 3, "model.trained_blocks": 3, "model.bank": true,
        "model.bank_views": ["corners"]}'

--parts RATE takes the method apart at that rate: without contrast (part A), without tuned blocks
(B), without later training (C), and plain adapters (`fsa` with the same epochs and batches).

Runs go to --out and stay there: a repeated command goes on where it stopped. --jobs runs so many at
a time. --results writes the figures to `results/coact_grounds.json` too ($RESULTS replaces the
folder). The last columns judge three marks: never more than 1 point below `simple_cil`, never more
than 1.5 below the best fixed rate (average accuracy), and a mean gain over `simple_cil` of at least
2.5.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from coact_cells import Cell, Ground, cells_of, run_cell
from coact_file import BySeed, Figures, Measured, Row, write_results

NETWORK = "deit_tiny_patch16_224"
TINY = {
    "model.backbone": "vit_tiny_patch16_224",
    "model.backbone_args": {
        "img_size": 28,
        "patch_size": 7,
        "embed_dim": 32,
        "depth": 4,
        "num_heads": 2,
    },
    "model.pretrained": False,
}
CHARACTERS = 62
FIXED = (0.003, 0.01, 0.03, 0.1)
BELOW_BASELINE, BELOW_BEST, LEAST_GAIN = 1.0, 1.5, 2.5  # the marks, percentage points


OMNIGLOT = {
    "scenario.dataset": "image_folder",
    "scenario.base_classes": 12,
    "scenario.way": 10,
    "scenario.mirror_symmetric": False,
    "model.image_size": 128,
    "training.base_epochs": 50,
}
GROUNDS = {  # by cost
    "omniglot": Ground("fscit", "omniglot_small", OMNIGLOT),
    "dtd": Ground("fscit_dtd", "dtd_10"),
    "gtsrb": Ground("fscit_gtsrb", "gtsrb"),
    "mini_imagenet": Ground("fscit_mini_imagenet", "miniimagenet"),
    "caltech101": Ground("fscit_caltech101", "caltech101"),
    "stanford_cars": Ground("fscit_stanford_cars", "stanford_cars"),
}
PACKAGED = Ground(
    "omniglot",
    "",
    {"scenario.base_classes": 12, "scenario.way": 115, "scenario.shots": 2, **TINY}
    | {"training.base_epochs": 2},
)


def characters(source: Path, target: Path) -> Path:
    """Return a folder with links to the first characters."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in sorted({path.parent for path in source.rglob("*.png")})[:CHARACTERS]:
        link = target / ".".join(folder.relative_to(source).parts)
        if not link.exists():
            link.symlink_to(folder.resolve())
    return target


def mean(cell: BySeed) -> Figures:
    """Return the mean over seeds, and every seed's choice."""
    found = list(cell.values())
    chosen = " ".join(each.chosen for each in found)
    num = len(found)
    return Figures(
        sum(each.average for each in found) / num, sum(each.last for each in found) / num, chosen
    )


def gain_of(cells: Mapping[str, BySeed]) -> float:
    """Return what the chosen rate gains over simple_cil, on average."""
    return mean(cells["auto"]).average - mean(cells["simple_cil"]).average


def print_row(name: str, cells: Mapping[str, BySeed]) -> None:
    """Print a ground's row, with the marks that it keeps."""
    means = {cell: mean(found) for cell, found in cells.items()}
    chosen = means["auto"]
    fixed = [found for cell, found in means.items() if cell[0].isdigit()]
    gain = gain_of(cells)
    words = [f"{each.average:5.1f} /{each.last:5.1f}" for each in means.values()]
    marks = [verdict(gain >= -BELOW_BASELINE)]
    if fixed:
        best = max(each.average for each in fixed)
        marks.append(verdict(chosen.average >= best - BELOW_BEST))
    print(  # noqa: T201
        f"{name:16}{'  '.join(words)}  {gain:+5.1f}  {' '.join(marks):12}  chose {chosen.chosen}",
        flush=True,
    )


def verdict(kept: bool) -> str:
    return "kept" if kept else "MISSED"


def measured(
    grounds: Mapping[str, tuple[Ground, dict[str, Any]]],
    cells: Mapping[str, Sequence[Cell]],
    options: argparse.Namespace,
    out: Path,
) -> dict[str, Row]:
    """Return each ground's row, and print it; runs are made where they are missing."""
    rows = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        under_way = {
            name: {
                cell: {
                    seed: pool.submit(run_cell, ground, cell, seed, given, out / name)
                    for seed in options.seeds
                }
                for cell in cells[name]
            }
            for name, (ground, given) in grounds.items()
        }
        for name, row in under_way.items():
            rows[name] = {
                cell: {seed: run.result() for seed, run in runs.items()}
                for cell, runs in row.items()
            }
            print_row(name, {cell.name: found for cell, found in rows[name].items()})
    return rows


def main() -> None:
    options = parsed()
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        grounds = streams(options, out)
        cells = {
            name: cells_of(ground, options.tuning, options.rates, options.parts)
            for name, (ground, _) in grounds.items()
        }
        print(f"average / last  {heading(options)}   gain  marks")  # noqa: T201
        rows = measured(grounds, cells, options, out)
    if options.results:
        write_results(
            [
                Measured(
                    name,
                    grounds[name][0].scenario,
                    row,
                    options.options,
                    options.tuning,
                    options.parts,
                )
                for name, row in rows.items()
            ],
            complete=tuple(options.rates) == FIXED,
            of_all=GROUNDS,
        )
    gains = [gain_of({cell.name: found for cell, found in row.items()}) for row in rows.values()]
    gain = sum(gains) / len(gains)
    print(  # noqa: T201
        f"mean gain over simple_cil, {len(gains)} grounds, seeds {options.seeds}: {gain:+.1f} "
        f"(mark: at least {LEAST_GAIN}; {verdict(gain >= LEAST_GAIN)})"
    )


def parsed() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--grounds", nargs="+", choices=GROUNDS, default=list(GROUNDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rates", nargs="*", type=float, default=list(FIXED), help="fixed rates")
    parser.add_argument("--parts", type=float, help="take the method apart at this rate")
    parser.add_argument("--options", type=json.loads, default={}, help="of every run, as JSON")
    parser.add_argument("--tuning", type=json.loads, default={}, help="of coact's runs, as JSON")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--results", action="store_true", help="write the figures to a file too")
    parser.add_argument("--out", type=Path, help="keeps the runs (default: a temporary folder)")
    return parser.parse_args()


def heading(options: argparse.Namespace) -> str:
    """Return the names of the cells, above their columns."""
    names = [cell.name for cell in cells_of(PACKAGED, {}, options.rates, options.parts)]
    return "  ".join(f"{each:>12}" for each in names)


def streams(options: argparse.Namespace, out: Path) -> dict[str, tuple[Ground, dict[str, Any]]]:
    """Return each ground to run, with the options that name its data and network."""
    if options.data is None:
        return {"packaged": (PACKAGED, options.options)}
    weights = options.weights / f"{NETWORK}.safetensors"
    network = {"model.backbone": NETWORK, "model.weights": str(weights), "model.pretrained": False}
    found = {}
    for name in (name for name in GROUNDS if name in options.grounds):
        ground = GROUNDS[name]
        root = options.data / ground.folder
        if not root.is_dir():
            print(f"{name}: left out, because folder '{root}' does not exist")  # noqa: T201
            continue
        if name == "omniglot":
            root = characters(root, out / "characters")
        found[name] = (ground, {**network, "scenario.root": str(root), **options.options})
    return found


if __name__ == "__main__":
    main()
