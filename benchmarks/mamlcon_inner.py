"""Time of one outer step of `mamlcon`: episodes at once (vmap) or one after another (loop).

Both run the strategy's own inner loop on the same random episodes and give the same gradient.
    loop    each episode by itself; its gradient is taken before the next begins
    vmap    all episodes of the outer step in one pass; each has its own weights, so a
            convolution becomes one with as many groups as there are episodes

Both run in one process, interleaved. Processor time is measured, because other load disturbs it
less than wall time.

    python benchmarks/mamlcon_inner.py [--rounds 3] [--episodes 4] [--network melconv conv4 mlp]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from speed_file import Comparison, paired, write
from torch import Tensor, nn

from cl_suite.methods.episodes.meta_episodes import EpisodePlan
from cl_suite.methods.episodes.meta_learning import UnitNetwork, add_spare_units
from cl_suite.methods.episodes.meta_training import outer_losses
from cl_suite.models.classifier import build_classifier
from cl_suite.models.settings import ModelConfig

# shape of a sample, base classes, classes of an episode, classes of a stage
SETTINGS = {
    "melconv": ((1, 40, 101), 6, 3, 1),
    "conv4": ((1, 28, 28), 60, 10, 5),
    "mlp": ((1, 28, 28), 60, 10, 5),
}
Step = Callable[[], list[Tensor]]


def make_network(name: str, shape: tuple[int, ...], num_base: int, num_drawn: int) -> UnitNetwork:
    torch.manual_seed(0)
    if name == "mlp":
        layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()]
        model: nn.Module = nn.Sequential(nn.Flatten(), *layers, nn.Linear(128, num_base))
    else:
        model = build_classifier(ModelConfig(backbone=name, head="linear"), shape, num_base)
        model.head.grow(range(num_base))
    add_spare_units(model.eval(), num_drawn)
    return UnitNetwork(model)


def make_steps(name: str, num_episodes: int, *, first_order: bool) -> dict[str, Step]:
    shape, num_base, num_drawn, way = SETTINGS[name]
    network = make_network(name, shape, num_base, num_drawn)
    plan = EpisodePlan((way,) * (num_drawn // way), 5, 5, 5, 5, "end", with_others=True)
    num_others = num_base - num_drawn
    others = torch.arange(num_others)
    drawn = torch.arange(num_base, num_base + num_drawn).repeat_interleave(5)
    support = torch.rand(num_episodes, num_drawn * 5 + num_others, *shape)
    query = torch.rand(num_episodes * num_drawn * 10, *shape)
    units = torch.cat([drawn, others]).expand(num_episodes, -1)
    query_units = torch.cat([drawn, torch.randint(num_others, (num_drawn * 5,))])
    query_units = query_units.expand(num_episodes, -1)
    present = plan.present(others, torch.arange(num_drawn), num_base, num_drawn).expand(
        num_episodes, -1, -1
    )
    # class ids are for the cross-entropy of base classes, which is not measured here
    batch = [query, query_units.flatten(), query_units, support, units, present]

    def gradients(at_once: bool) -> list[Tensor]:
        network.model.zero_grad()
        for loss in outer_losses(
            network, plan, batch, lr=1e-3, first_order=first_order, vectorized=at_once
        ):
            loss.backward()
        return [p.grad.clone() for p in network.model.parameters() if p.grad is not None]

    return {"loop": lambda: gradients(False), "vmap": lambda: gradients(True)}


def compare(name: str, options: argparse.Namespace, *, first_order: bool) -> Comparison:
    steps = make_steps(name, options.episodes, first_order=first_order)
    # the first round warms up, and checks that both give the same gradient
    for one, other in zip(*(step() for step in steps.values()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    seconds: dict[str, list[float]] = {variant: [] for variant in steps}
    for _ in range(options.rounds):
        for variant, step in steps.items():
            start = time.process_time()
            step()
            seconds[variant].append(time.process_time() - start)
    ratios = [a / b for a, b in zip(seconds["vmap"], seconds["loop"], strict=True)]
    print(  # noqa: T201
        f"{name:8} {'first' if first_order else 'second'} order  "
        f"loop {statistics.median(seconds['loop']):6.2f} s  "
        f"vmap {statistics.median(seconds['vmap']):6.2f} s  vmap / loop "
        f"{statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )
    title = f"{name}, {'first' if first_order else 'second'} order"
    return paired(title, "vmap / loop", seconds, unit="CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--network", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    options = parser.parse_args()
    print(f"{options.episodes} episodes, {torch.get_num_threads()} threads")  # noqa: T201
    found = [
        compare(name, options, first_order=first_order)
        for name in options.network
        for first_order in (True, False)
    ]
    write("mamlcon_inner", "mamlcon's inner loop", found)


if __name__ == "__main__":
    main()
