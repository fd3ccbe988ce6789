"""CLIP-LoRA: low-rank adapters in the attention of both towers of CLIP.

Zanella, Ben Ayed, "Low-Rank Few-Shot Adaptation of Vision-Language Models", CVPR Workshops 2024,
arXiv 2405.18541, made class-incremental. The query, key and value maps `W` of every attention block
of both towers become

    W x + alpha / sqrt(r)  B A dropout(x)          r = rank, B = 0 in the beginning

and `A`, `B` learn by cross-entropy on `100 cos(image, text of "a photo of a <name>.")`. One setting
serves all data sets and shots, without validation. The library has separate query, key and value
maps, so the adapters are the paper's: 184,320 parameters in ViT-B/16 at rank 2.

The paper learns one set of classes. Here the same adapters go on learning in each session; after
it, the rows of all classes seen are embedded again. The classes in the softmax are our choice. By
default they are the session's own, so a few images of new classes do not push every old class
away. With `all_classes` they are all classes seen so far, whose names then pass the text tower in
each step (100 names: about a seventh of the tokens of 32 images in ViT-B/16).

Other differences from the authors' code:
    - Length: the paper makes `500 x shots` steps of 32 images, which for the 25 images of a
      five-way five-shot session are 2500 passes over them. A session here ends after that many
      steps (rounded up to whole epochs) or after the recipe's epochs, whichever comes first; shots
      are images per class, on average. The recipe allows 100 epochs, and 10 for a base session,
      which has hundreds of images per class: in ViT-B/16 about the paper's longest run, 8000 steps.
    - The rate is the paper's, one for all data sets; `training.lr: auto` chooses it instead.
    - The cosine of the learning rate follows this length, step by step, down to `min_lr`.
    - The scenario augments the images; theirs are random crops and flips.
    - Precision is float32 or bfloat16; theirs is float16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

from torch import nn

from cl_suite.models.hub.clip import ClipBody
from cl_suite.plugin import Template, Within, session_classes
from cl_suite.strategies.cpe_clip import refuse_frozen
from cl_suite.strategies.zero_shot_clip import ZeroShotCLIPPlugin, clip_body

ATTENTION = ("q_proj", "k_proj", "v_proj")


@dataclass(kw_only=True, eq=False)
class CLIPLoRAPlugin(ZeroShotCLIPPlugin):
    """Tune low-rank adapters of both towers on each session.

    Args:
        rank: rank of each adapter.
        alpha: adapters are scaled by `alpha / sqrt(rank)`.
        dropout: dropout on the adapters' input, a rate in [0, 1].
        iterations_per_shot: maximum training steps of a session, per image of a class.
        min_lr: final learning rate of the cosine; None: the training recipe's schedule.
        all_classes: softmax over all classes seen instead of the session's alone.
    """

    rank: Annotated[int, Within(1)] = 2
    alpha: Annotated[float, Within(0)] = 1.0
    dropout: Annotated[float, Within(0, 1)] = 0.25
    iterations_per_shot: Annotated[int, Within(1)] = 500
    min_lr: Annotated[float, Within(0)] | None = 1e-6
    all_classes: bool = False

    requirements = replace(ZeroShotCLIPPlugin.requirements, own_adapters=True, rate_auto=True)

    strategy_name = "clip_lora"

    def prepare_model(self, model: nn.Module) -> None:
        super().prepare_model(model)
        refuse_frozen(model, self.strategy_name)
        add_lora(
            clip_body(model, self.strategy_name),
            rank=self.rank,
            alpha=self.alpha,
            dropout=self.dropout,
        )

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        classes, model = session_classes(template), template.model
        self.write_rows(model, classes)  # for an evaluation within the session
        live = model.head.classes if self.all_classes else classes
        model.head.live = self.live_rows(model, live)

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        if template.clock.train_exp_iterations >= self._num_steps(template):
            template.stop_training()

    def before_training_iteration(self, template: Template, **kwargs: Any) -> None:
        if self.min_lr is None:
            return
        step, num_steps = template.clock.train_exp_iterations, self._num_steps(template)
        for group in template.optimizer.param_groups:
            full = group.setdefault("initial_lr", group["lr"])
            group["lr"] = cosine(full, self.min_lr, step / num_steps)

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        template.model.head.live = None
        self.write_rows(template.model, template.model.head.classes)

    def _num_steps(self, template: Template) -> int:
        shots = len(template.adapted_dataset) / len(session_classes(template))
        return session_steps(
            shots,
            len(template.dataloader),
            template.train_epochs,
            per_shot=self.iterations_per_shot,
        )


def session_steps(shots: float, steps_an_epoch: int, num_epochs: int, *, per_shot: int) -> int:
    """Return a session's training steps: `per_shot * shots` in whole epochs, if that many fit."""
    epochs = math.ceil(per_shot * shots / steps_an_epoch)
    return min(epochs, num_epochs) * steps_an_epoch


def cosine(start: float, end: float, progress: float) -> float:
    """Return the value at `progress` in [0, 1] of half a cosine wave from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def add_lora(body: ClipBody, *, rank: int, alpha: float, dropout: float) -> None:
    """Add adapters to queries, keys and values of both towers, and freeze everything else.

    Until the adapters have learned, the network's output is unchanged. A body that already has
    adapters is left unchanged.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if any("lora_" in name for name, _ in body.clip.named_parameters()):
        return
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        use_rslora=True,  # alpha / sqrt(rank), as the authors scale
        lora_dropout=dropout,
        bias="none",
        target_modules=list(ATTENTION),
    )
    body.requires_grad_(False)
    inject_adapter_in_model(config, body.clip)
    for name, parameter in body.clip.named_parameters():
        parameter.requires_grad_("lora_" in name)
