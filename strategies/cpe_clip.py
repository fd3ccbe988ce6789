"""CPE-CLIP: prompts in both towers of a frozen CLIP, tuned more gently in each session.

D'Alessandro, Alonso, Calabres, Galar, "Multimodal Parameter-Efficient Few-Shot Class Incremental
Learning", ICCV Workshops 2023, arXiv 2303.04751. CLIP itself stays frozen. The learned parts are
`L` prompt rows `G_i` in each of the first `D` layers of the text tower and one linear map `A` that
carries them into the vision tower (`cl_suite.models.hub.clip_prompts`). The text embeddings of the
classes' names are the classifier, so a new class adds no parameter. Nothing is replayed or
distilled. With `n_t` classes in session `t`, the loss is cross-entropy over the session's own
classes alone, and

    logit_k(x) = 100 cos( image_G,A(x), text_G("<name of k>.") )
    step in session t, times  lambda_t = n_t / (n_1 + ... + n_t)

After each session the rows of all classes seen are embedded again, because the prompts have
changed, and stored: a prediction is one product.

As in the authors' code:
    - no augmentation;
    - a new optimiser for each session (the suite's engine makes it; a bare Avalanche program keeps
      its own and its momentum);
    - step sizes follow `lr_per_epoch`, the first values of their warm-up. They advance it once an
      epoch, so their nominal rate is never reached;
    - a session of one class teaches nothing, because its softmax has one class.

Differences from the authors' code:
    - `lambda_t` scales the learning rate, not the gradients. For SGD that is the same except for
      the weight decay (1e-5), which it scales too; Adam would ignore scaled gradients altogether.
    - `lambda_t` follows true class counts; theirs assumes equal sessions.
    - In a training step only the names of the session's classes pass the text tower. Theirs embeds
      all names and masks the old columns, with the same loss. At evaluation theirs embeds all names
      anew for each batch.
    - Any CLIP works, through the library's own layers; theirs hard-codes ViT-B/16's numbers.
    - Accuracy over sessions is their plain mean; theirs weights sessions by their images. No loss
      is computed at evaluation; theirs covers all classes there, so it is not comparable with a
      training loss.
    - Names come with the data set as words; theirs are unpickled from a downloaded file.
    - Batches hold 32 images in the base session of every data set; theirs hold 4 on CUB-200, which
      they do not document.
    - Turning off accumulation leaves `lambda_t` on; their ablation turns off both.
    - Without vision prompts `A` does not exist; theirs keeps it, without a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from torch import nn
from torch.optim import Optimizer

from cl_suite.avalanche.loader import batches
from cl_suite.errors import UserError, option
from cl_suite.models.classifier import Classifier
from cl_suite.models.hub.clip_prompts import PromptMode
from cl_suite.plugin import Requirements, Template, Within, session_classes
from cl_suite.strategies.zero_shot_clip import ZeroShotCLIPPlugin, clip_body

WARM_UP = (0.001, 0.00298, 0.00496, 0.00694, 0.00892, 0.0109)


@dataclass(kw_only=True, eq=False)
class CPECLIPPlugin(ZeroShotCLIPPlugin):
    """Tune prompts of both towers on each session, more gently in later ones.

    Args:
        prompt_length: prompt rows per layer, `L`; 0: zero-shot CLIP.
        prompt_depth: number of first layers with prompts, `D`; all if a tower has fewer.
        text_mode: "replace" overwrites the rows in each layer, "accumulate" adds to them.
        vision_mode: the same in the vision tower.
        regularize: scale the learning rate by the share of new classes, `lambda_t`.
        vision_prompts: carry the prompts into the vision tower.
        lr_per_epoch: learning rate of each epoch of a session, instead of the training recipe's;
            the last one serves all further epochs. None: the recipe's, which may be auto.
        incremental_batch_size: samples per training step after the base session; None: the
            recipe's.
        augment: train on augmented images.
    """

    template: str = "{}."
    prompt_length: Annotated[int, Within(0)] = 2
    prompt_depth: Annotated[int, Within(1)] = 12
    text_mode: PromptMode = "replace"
    vision_mode: PromptMode = "accumulate"
    regularize: bool = True
    vision_prompts: bool = True
    lr_per_epoch: Sequence[Annotated[float, Within(0)]] | None = WARM_UP
    incremental_batch_size: Annotated[int, Within(1)] | None = 4
    augment: bool = False

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]  # parameters decide
        """What it needs; the run may choose the recipe's rate if nothing else sets it."""
        rate_auto = True if self.lr_per_epoch is None else "strategy.lr_per_epoch"
        return replace(
            ZeroShotCLIPPlugin.requirements,
            own_adapters=True,
            rate_auto=rate_auto if self.prompt_length else False,
        )

    strategy_name = "cpe_clip"

    def check(self) -> None:
        super().check()
        if self.lr_per_epoch is not None and not self.lr_per_epoch:
            raise UserError(
                "lr_per_epoch must hold at least one rate, got []; pass null for the recipe's rate"
            )

    def prepare_model(self, model: nn.Module) -> None:
        super().prepare_model(model)
        body = clip_body(model, self.strategy_name)
        refuse_frozen(model, self.strategy_name)
        if self.prompt_length == 0:
            body.requires_grad_(False)
        elif body.prompts is None:
            body.add_prompts(
                self.prompt_depth,
                self.prompt_length,
                text_mode=self.text_mode,
                vision_mode=self.vision_mode,
                vision=self.vision_prompts,
            )

    def after_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        if not self.augment:
            template.adapted_dataset = template.adapted_dataset.eval()

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        classes, model = session_classes(template), template.model
        self.write_rows(model, classes)  # for an evaluation within the session
        model.head.live = self.live_rows(model, classes)
        is_base = len(classes) == len(model.head.classes)
        if self.incremental_batch_size is not None and not is_base:
            template.dataloader = batches(
                template.adapted_dataset,
                self.incremental_batch_size,
                shuffle=True,
                num_workers=getattr(template.dataloader, "num_workers", 0),
            )
        scale_learning_rate(template.optimizer, self._gentleness(template))

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        if self.prompt_length == 0:
            template.stop_training()  # nothing to train
        elif self.lr_per_epoch is not None:
            epoch = min(template.clock.train_exp_epochs, len(self.lr_per_epoch) - 1)
            for group in template.optimizer.param_groups:
                group["lr"] = self.lr_per_epoch[epoch] * self._gentleness(template)

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        template.model.head.live = None
        self.write_rows(template.model, template.model.head.classes)

    def _gentleness(self, template: Template) -> float:
        if not self.regularize:
            return 1.0
        seen = len(template.model.head.classes)
        return share_of_new_classes(len(session_classes(template)), seen)


def share_of_new_classes(num_new: int, num_seen: int) -> float:
    """Return `lambda_t`: the session's share of all classes seen up to and including it."""
    return num_new / num_seen


def scale_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Set each group's learning rate to `factor` times its initial one; idempotent."""
    for group in optimizer.param_groups:
        full: float = group.setdefault("full_lr", group.get("initial_lr", group["lr"]))
        group["initial_lr"] = group["lr"] = full * factor


def refuse_frozen(model: nn.Module, strategy_name: str) -> None:
    """Raise `UserError` if a classifier's backbone is frozen."""
    if isinstance(model, Classifier) and model.backbone.frozen:
        raise UserError(
            f"strategy '{strategy_name}' trains within the backbone, which "
            f"{option('model.frozen', 'true')} "
            "forbids; leave it out (CLIP's own weights stay unchanged anyway)"
        )
