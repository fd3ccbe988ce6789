"""Time and memory of one incremental `coact` training step, against separate full encoders.

The step is from a later session in which the adapters learn, with the cross-entropy, contrastive
and consistency terms. LoRA is in the upper half of the blocks, and a batch has two views.
    shared      the strategy's own callbacks: one body, snapshots of adapters, shared prefixes, a
                last block that computes only the class token
    4 encoders  full copies of the network: the passes that the loss needs (student and BASE on one
                view, the teachers of BASE and PRE on the other), copies without gradient
    6 passes    as in the authors' code: student, BASE and PRE each have a student and a teacher
                encoder, each run on both views; the students of BASE and PRE keep their graph
Time: all variants in one process, interleaved. Memory: peak resident size of one process per
variant, minus its size before any network was built; on a GPU, the most that tensors took there.

    python benchmarks/coact_step.py [--rounds 3] [--batch 64] [--weights FILE for DeiT-tiny]
        [--device cuda] [--precision bfloat16]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from speed_file import Comparison, paired, write
from torch import Tensor, nn

from cl_suite.losses.supcon import supcon
from cl_suite.models.adapters import LoRASettings, add_lora, lora_parameters, without_adapters
from cl_suite.models.classifier import Classifier, build_classifier
from cl_suite.models.encoder import Encoder
from cl_suite.models.settings import ModelConfig
from cl_suite.strategies.coact import CoACTPlugin

MODELS = ("deit_tiny_patch16_224", "vit_small_patch16_224")
BASE, ALL = 60, 65  # classes
Step = Callable[[], float]


class FullEncoder(CoACTPlugin):
    """The strategy with plain adapters: every block computes every token."""

    def prepare_model(self, model: nn.Module) -> None:
        assert isinstance(model, Classifier)
        settings = LoRASettings(self.lora_rank, self.lora_alpha, self.lora_dropout)
        add_lora(model.backbone.body, replace(settings, start=-self.adapt_blocks))


def make(
    name: str, weights: str | None, kind: type[CoACTPlugin], device: str
) -> tuple[Classifier, CoACTPlugin]:
    """Return a classifier after a base session of zero epochs, and its strategy."""
    torch.manual_seed(0)
    plugin = kind(adapt_blocks=6, tune_from_block=None)
    config = ModelConfig(backbone=name, weights=weights)
    model = build_classifier(config, (3, 224, 224), ALL, plugin).train().to(device)
    model.head.set_rows(range(BASE), torch.randn(BASE, model.feature_dim, device=device))
    for adapter in lora_parameters(model.backbone.body).values():
        nn.init.normal_(adapter, std=0.01)
    encoder = plugin._encoder = Encoder(model)
    plugin.base_ = {
        "classes": list(range(BASE)),
        "adapters": encoder.snapshot(lora_parameters(model.backbone.body)),
        "classifier": {k: v.clone() for k, v in model.head.state_dict().items()},
    }
    plugin.classes_ = list(range(BASE))
    model.head.set_rows(range(ALL), torch.randn(ALL, model.feature_dim, device=device))
    model.head.requires_grad_(False)
    return model, plugin


def make_batch(size: int, device: str) -> list[Tensor]:
    torch.manual_seed(1)
    view, other = torch.randn(2, size, 3, 224, 224)
    return [each.to(device) for each in (view, torch.randint(BASE, ALL, (size,)), other)]


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=1e-4, momentum=0.9, nesterov=True)


def shared_step(
    model: Classifier, plugin: CoACTPlugin, batch: list[Tensor], precision: torch.autocast
) -> Step:
    optimizer = optimizer_of(model)
    # not the session's first step, in which the strategy compares the two views
    clock = SimpleNamespace(train_exp_iterations=1)

    def step() -> float:
        strategy: Any = SimpleNamespace(
            model=model, clock=clock, mbatch=batch, mb_x=batch[0], mb_y=batch[1]
        )
        optimizer.zero_grad()
        plugin.before_training_iteration(strategy)
        plugin.before_forward(strategy)
        with precision:
            strategy.mb_output = model(batch[0])
        plugin.after_forward(strategy)
        strategy.loss = F.cross_entropy(strategy.mb_output.float(), batch[1])
        plugin.before_backward(strategy)
        strategy.loss.backward()
        optimizer.step()
        return float(strategy.loss.detach())

    return step


def separate_step(
    model: Classifier, batch: list[Tensor], precision: torch.autocast, *, all_passes: bool
) -> Step:
    """Return the step with a full copy of the network for each encoder."""
    num_copies = 5 if all_passes else 3
    copies = [copy.deepcopy(model) for _ in range(num_copies)]
    optimizer = optimizer_of(model)
    view, labels, other = batch

    def teacher(network: Classifier) -> Tensor:
        with torch.no_grad(), without_adapters(network.backbone.body):
            return network.eval().features(other)

    def step() -> float:
        optimizer.zero_grad()
        base, base_teacher, pre_teacher, *unread = copies
        with precision:
            features = model.features(view)
            with torch.set_grad_enabled(all_passes):
                base_logits = base.eval()(view)
            kept = [base_logits]  # results that are never read live until the step ends
            if all_passes:
                own_teacher, pre_student = unread
                kept += [pre_student.eval()(view), teacher(own_teacher)]
            vectors = [features, teacher(base_teacher), teacher(pre_teacher)]
            logits = model.head(features).float()
        rows = torch.cat([F.normalize(each.float()) for each in vectors])
        loss = F.cross_entropy(logits, labels) + supcon(rows, labels.repeat(3))
        loss = loss + F.mse_loss(logits[:, :BASE], base_logits[:, :BASE].float())
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def make_step(variant: str, name: str, options: argparse.Namespace) -> Step:
    weights = options.weights if name.startswith("deit_tiny") else None
    kind = CoACTPlugin if variant == "shared" else FullEncoder
    model, plugin = make(name, weights, kind, options.device)
    batch = make_batch(options.batch, options.device)
    half = options.precision == "bfloat16"
    precision = torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=half)
    if variant == "shared":
        return shared_step(model, plugin, batch, precision)
    return separate_step(model, batch, precision, all_passes=variant == "6 passes")


VARIANTS = ("shared", "4 encoders", "6 passes")


def peak_growth(variant: str, name: str, options: argparse.Namespace) -> float:
    """Return by how many MiB a process grows in two steps of a variant."""
    command = [sys.executable, __file__, "--child", variant, "--model", name]
    command += ["--batch", str(options.batch)]
    command += ["--device", options.device, "--precision", options.precision]
    if options.weights:
        command += ["--weights", options.weights]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(options: argparse.Namespace) -> None:
    import timm  # noqa: F401  # the figure excludes the library itself
    from peft import LoraConfig  # noqa: F401

    before = status_mib("VmRSS")
    step = make_step(options.child, options.model[0], options)
    for _ in range(2):
        step()
    on_gpu = torch.device(options.device).type == "cuda"
    grown = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else status_mib("VmHWM") - before
    print(grown)  # noqa: T201


def status_mib(field: str) -> float:
    """Return a figure of this process; `ru_maxrss` would be that of its parent process."""
    (line,) = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(f"{field}:")
    ]
    return int(line.split()[1]) / 1024


def compare(name: str, options: argparse.Namespace) -> list[Comparison]:
    """Print what each variant takes, and return the comparisons with the shared prefix."""
    # first, while this process is still small
    memory = {variant: peak_growth(variant, name, options) for variant in VARIANTS}
    steps = {variant: make_step(variant, name, options) for variant in VARIANTS}
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for round_number in range(options.rounds + 1):
        for variant, step in steps.items():
            start = time.perf_counter()
            step()
            if round_number:  # the first one warms up
                seconds[variant].append(time.perf_counter() - start)
    where = "" if options.device == "cpu" else f" on {options.device} in {options.precision}"
    print(f"{name}, batch {options.batch}, {options.rounds} rounds{where}")  # noqa: T201
    for variant in VARIANTS:
        ratios = [a / b for a, b in zip(seconds[variant], seconds["shared"], strict=True)]
        print(  # noqa: T201
            f"  {variant:10}  {statistics.median(seconds[variant]):6.3f} s  "
            f"x {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})  "
            f"peak {memory[variant]:6.0f} MiB  x {memory[variant] / memory['shared']:.2f}"
        )
    return [
        paired(f"{name}, a step", f"{other} / shared", seconds, unit="s") for other in VARIANTS[1:]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--model", nargs="+", default=list(MODELS))
    parser.add_argument("--weights", help="safetensors file for DeiT-tiny; random ones without")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    found = [each for name in options.model for each in compare(name, options)]
    write("coact_step", "A step of coact", found)


if __name__ == "__main__":
    main()
