"""CoACT: consistency-guided asynchronous contrastive tuning of a pretrained network.

Roy, Dolatabadi, Afkanpour, Etemad, "Consistency-Guided Asynchronous Contrastive Tuning for Few-Shot
Class-Incremental Tuning of Foundation Models", TMLR 2025, arXiv 2405.16625. Three parts, each of
which can be switched off:

A. Asynchronous contrastive tuning, base session. The student has low-rank adapters (LoRA); the
   teacher is the pretrained network without them. Of an image's two views the student sees one,
   `q`, and the teacher the other, `k`. With `u = norm(z_student(q))` and `v = norm(z_teacher(k))`:
       L_base = CE(W z(q), y) + contrastive_weight SupCon({u} + {v})
   The rows of `W` start as class means.
B. Controlled fine-tuning. From epoch `tune_from_epoch` on, the blocks from `tune_from_block` on
   (and the layers after them) learn too, at `tune_lr_factor` times the rate. The teacher's copies
   of these tensors follow by a moving average, one step before each batch.
C. Consistency-guided incremental tuning. Rows of new classes are class means. BASE is the network
   after the base session (its teacher with it), PRE the one before any training:
       L_inc = CE(W z(q), y) + contrastive_weight SupCon({u} + {v_BASE} + {v_PRE})
               + consistency_weight MSE(logits(q), logits_BASE(q))

All four networks are one body and dicts of the tensors in which they differ. Blocks that two of
them share are run once for each view. Student and BASE share the blocks up to the first adapter,
on `q`. BASE's teacher and PRE share those up to the first tuned block, on `k` (all blocks if none
was tuned). Few blocks with adapters (`adapt_blocks`) therefore make it fast. The last block of a
vision transformer computes only the class token, because nothing else is read. If no tensor of the
encoder learns, the contrastive term has no gradient and is left out; BASE's features are then the
student's.

Differences from the authors' code:
    - The network is the one after the last epoch. Theirs is the epoch best on the test set, and
      each of the base, new and overall figures they report is its own maximum over epochs.
    - Seeds take effect; theirs are never applied.
    - Logits cover the classes seen; theirs also cover all future classes, with random rows. So MSE
      covers the classes that BASE knows; theirs also draws new rows towards BASE's random ones.
    - BASE and PRE stay unchanged; theirs move, because each pass with labels updates a teacher's
      average.
    - There are two views; with more, theirs confuses which image a view belongs to.
    - Scores are cosines. Theirs are dot products with un-normalised rows, in which longer rows win
      (`classifier: dot`). Their network ends in a pooler with a tanh, which bounds the feature.
      Timm's have none (the feature of a ViT is the class token after the last norm), and dot
      products then diverge at the paper's rate of 0.1: the training loss of DeiT-tiny on 20 classes
      of miniImageNet rose from 11 to 71 in two epochs. With cosines it falls, and a rate of 0.01
      suits dot products.
    - No weight decay on `W` in later sessions; theirs shrinks the rows of old classes.
    - Augmentation is the training transform's: crops and flips on a pretrained backbone, but no
      flips of signs and letters (theirs flips them); theirs adds colour jitter and greying. If
      nothing is random (a feature bank without further views), both views are equal, and a warning
      says so.
    - `adapt_blocks` counts from the end, so the first blocks are shared; theirs from the front.
    - More than one epoch in a later session follows the recipe's schedule; theirs is constant.
    - Each session has a new optimiser (the suite's engine makes it; a bare Avalanche program keeps
      its own); theirs carries momentum on through the later sessions.
    - Parts B and C have one default; theirs are chosen for each data set by test accuracy. So is
      their rate (0.1 or 0.5). Ours is chosen on the base session's training images, and no tuning
      at all is among the choices (`training.lr: auto`).
    - Dropout acts only on adapters that learn; teachers, BASE and all else run in eval mode.

On DeiT-tiny and miniImageNet with 25 images per base class (adapters in the last 3 blocks, 3
epochs, 7 fixed views) it ends below class means of the untouched network, 75.2 against 76.4 % on
average. Without the contrastive term it ends above them, 76.8 %. With 60 classes in a batch of 64,
nearly the only positive of a vector is its own teacher, and the term pushes apart what pretraining
held together.

Few images do the same. On six grounds in few-shot form (DeiT-tiny, rate 0.1, three seeds; see
docs/guides/pretrained.md) the term costs 14 to 50 points on dtd, gtsrb, miniImageNet and
caltech101, and brings 7.0 on 62 Omniglot characters and 4.5 on Stanford cars, which the pretraining
has hardly seen. On `fscit_caltech101` (the last 3 blocks, 2 fixed views, rate 0.03, bfloat16, seed
0) it reaches 81.0 % on average and 80.4 % at the end, 88.9 and 86.9 % without
the contrastive term, and class means of the untouched network 89.0 and 86.8 %. The likely reason is
that the term turns the features of the base classes away from their rows: class means as rows
(`base_rows: means`) give 83.8 and 81.9 %. On 62 Omniglot characters (rate 0.1, the whole recipe,
bfloat16, seed 0) they give 67.5 and 66.4 %, and learned rows 60.2 and 60.5 %: these lose to the
class means of new classes, and the base classes fall from 75 to 11 %. Class means are not the
default, because those are test figures, and held-back training images are against them. On four
fake streams of the base session of caltech101 the score falls from +2.6 to -1.5 points against no
tuning (standard errors 2.7 and 2.5), and on one of Omniglot from +31.9 to +26.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_suite.avalanche.loader import batches
from cl_suite.errors import UserError, option
from cl_suite.losses.supcon import supcon
from cl_suite.methods.optimizer_groups import own_group
from cl_suite.models.adapters import LoRASettings, adapting, lora_parameters, without_adapters
from cl_suite.models.classifier import Classifier
from cl_suite.models.encoder import Encoder, StudentPass, adapt
from cl_suite.models.heads.class_head import ClassHead, CosineHead
from cl_suite.models.heads.dot import DotHead
from cl_suite.plugin import (
    BatchLayout,
    Requirements,
    StrategyPlugin,
    Template,
    Within,
    session_classes,
    session_stats,
    warn_of_one_view,
)


@dataclass(kw_only=True, eq=False)
class CoACTPlugin(StrategyPlugin):
    """Tune a pretrained network on the base session, and gently or not at all on later ones.

    The first session it sees is the base session. The method was made for vision transformers; in
    other networks the convolutions or linear layers get adapters. A network that is not a
    `Classifier` is run whole for each copy; its last linear layer is `W`.

    Args:
        lora_rank: rank of the adapters.
        lora_alpha: adapters are scaled by alpha / rank.
        lora_dropout: dropout on the adapters' input.
        adapt_blocks: number of blocks with adapters, counted from the end; -1: all.
        tune_from_block: first block of part B (a number beyond the last block: the last one); -1:
            the whole network; null: no part B.
        tune_from_epoch: epoch of the base session in which part B begins; null: half of them.
        tune_lr_factor: learning rate of part B as a fraction of the adapters'.
        contrastive_weight: weight of the contrastive terms; 0: no part A and only one view.
        consistency_weight: weight of the consistency with BASE in later sessions.
        temperature: temperature of the contrastive terms.
        ema: share of the teacher kept in each step of its moving average.
        incremental_layers: the part that learns in later sessions: rows (classifier), adapters
            (pet), both or none. The training recipe sets epochs and rate.
        classifier: scores by cosine, or by dot product as in the paper (use a lower rate).
        base_rows: rows of the base classes after the base session: as they were trained, as in the
            paper (learned), or the class means of the tuned network, like those of new classes
            later (means).
    """

    lora_rank: Annotated[int, Within(1)] = 16
    lora_alpha: Annotated[float, Within(0)] = 16.0
    lora_dropout: Annotated[float, Within(0, 0.99)] = 0.1
    adapt_blocks: Annotated[int, Within(-1)] = -1
    tune_from_block: Annotated[int, Within(-1)] | None = 9
    tune_from_epoch: Annotated[int, Within(0)] | None = None
    tune_lr_factor: Annotated[float, Within(0)] = 0.1
    contrastive_weight: Annotated[float, Within(0)] = 1.0
    consistency_weight: Annotated[float, Within(0)] = 1.0
    temperature: Annotated[float, Within(1e-3)] = 0.07
    ema: Annotated[float, Within(0, 1)] = 0.999
    incremental_layers: Literal["none", "classifier", "pet", "both"] = "pet"
    classifier: Literal["cosine", "dot"] = "cosine"
    base_rows: Literal["learned", "means"] = "learned"
    classes_: list[int] = field(default_factory=list, init=False)  # of finished sessions
    base_: dict[str, Any] = field(default_factory=dict, init=False)
    teacher_: dict[str, Tensor] = field(default_factory=dict, init=False)
    pretrained_: dict[str, Tensor] = field(default_factory=dict, init=False)

    requirements = Requirements(
        carries_base_state=True, own_adapters=True, kinds=("class",), rate_auto=True
    )

    _encoder: Encoder = field(init=False, repr=False)  # of the session under way
    _student: StudentPass = field(init=False, repr=False)  # of the latest batch

    @property
    def in_base_session(self) -> bool:
        """True until the first session is finished."""
        return not self.classes_

    @property
    def tunes_encoder(self) -> bool:
        """Whether the adapters learn in the session under way."""
        return self.in_base_session or self.incremental_layers in ("pet", "both")

    @property
    def contrasts(self) -> bool:
        """Whether the session under way has a contrastive term."""
        return self.contrastive_weight > 0 and self.tunes_encoder

    @property
    def runs_network(self) -> bool:
        return True

    def make_head(self, dim: int, num_classes: int, temperature: float) -> ClassHead:
        if self.classifier == "dot":
            return DotHead(dim, num_classes)
        return CosineHead(dim, num_classes, temperature)

    def prepare_model(self, model: nn.Module) -> None:
        if isinstance(model, Classifier) and model.backbone.frozen:
            raise UserError(
                f"coact tunes the backbone, which {option('model.frozen')} keeps unchanged; "
                "pass false"
            )
        settings = LoRASettings(self.lora_rank, self.lora_alpha, self.lora_dropout)
        adapt(model, settings, None if self.adapt_blocks < 0 else self.adapt_blocks)

    def first_changed_block(self, model: nn.Module) -> int:
        encoder = Encoder(model)
        num_blocks = encoder.stages.num_blocks
        firsts = [0 if self.adapt_blocks < 0 else max(num_blocks - self.adapt_blocks, 0)]
        if self.tune_from_block is not None:
            firsts.append(min(self.tune_from_block, num_blocks - 1))
        return max(min(firsts), encoder.num_frozen_blocks)

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        encoder = self._encoder = Encoder(template.model)
        stats = session_stats(template)
        new = stats.select(set(stats.classes) - set(self.classes_))
        encoder.set_rows(new.classes, new.mean)
        rows = list(encoder.classifier.parameters())
        adapters = lora_parameters(encoder.body)
        if self.in_base_session:
            tuned = self._tuned_names()
            self.pretrained_, self.teacher_ = encoder.snapshot(tuned), encoder.snapshot(tuned)
            learning = [*adapters.values(), *rows]
            if tuned:
                lr = self.tune_lr_factor * template.optimizer.param_groups[0]["lr"]
                own_group(template.optimizer, self._parameters(tuned), lr=lr)
        else:
            learning = list(adapters.values()) if self.tunes_encoder else []
            if self.incremental_layers in ("classifier", "both"):
                learning += rows
                own_group(template.optimizer, rows, weight_decay=0.0)
        template.model.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)
        if self.contrasts:
            template.dataloader = batches(
                template.adapted_dataset,
                template.train_mb_size,
                shuffle=True,
                num_workers=getattr(template.dataloader, "num_workers", 0),
                layout=BatchLayout(views=2),
            )

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        if self.in_base_session:
            first = self.tune_from_epoch
            first = template.train_epochs // 2 if first is None else first
            if template.clock.train_exp_epochs >= first:
                for parameter in self._parameters(self.teacher_):
                    parameter.requires_grad_(True)
        elif self.incremental_layers == "none":
            template.stop_training()

    def before_training_iteration(self, template: Template, **kwargs: Any) -> None:
        if self.in_base_session:
            own = dict(self._encoder.body.named_parameters())
            moving = {name: own[name] for name in self.teacher_ if own[name].requires_grad}
            move_average(self.teacher_, moving, self.ema)

    def before_forward(self, template: Template, **kwargs: Any) -> None:
        first = self._encoder.first_stage(lora_parameters(self._encoder.body))
        self._student = StudentPass(self._encoder, template.mb_x, first, dropout=self.tunes_encoder)

    def after_forward(self, template: Template, **kwargs: Any) -> None:
        self._student.end()

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        if self.contrasts:
            if template.clock.train_exp_iterations == 0 and self.in_base_session:
                warn_of_one_view(
                    template.mb_x, template.mbatch[2], "coact", f"pass {option('model.bank_views')}"
                )
            vectors = [self._student.features, *self._teacher_features(template.mbatch[2])]
            rows = torch.cat([F.normalize(each.float()) for each in vectors])
            loss = supcon(rows, template.mb_y.repeat(len(vectors)), temperature=self.temperature)
            template.loss += self.contrastive_weight * loss
        if self.consistency_weight > 0 and not self.in_base_session:
            known = self.base_["classes"]
            logits = template.mb_output[:, known].float()
            loss = F.mse_loss(logits, self._base_logits()[:, known].float())
            template.loss += self.consistency_weight * loss

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        encoder = self._encoder
        session = session_classes(template)
        if self.in_base_session:
            if self.base_rows == "means":
                stats = session_stats(template)
                encoder.set_rows(stats.classes, stats.mean)
            state = encoder.classifier.state_dict()
            self.base_ = {
                "classes": session,
                "adapters": encoder.snapshot(lora_parameters(encoder.body)),
                "classifier": {name: tensor.clone() for name, tensor in state.items()},
            }
        self.classes_ = [*self.classes_, *(c for c in session if c not in self.classes_)]

    @torch.no_grad()
    def _teacher_features(self, view: Tensor) -> list[Tensor]:
        """Return the features `(batch, dim)` of each teacher of this session."""
        encoder, num_teachers = self._encoder, 1 if self.in_base_session else 2
        with self._copy_running(), without_adapters(encoder.body):
            if not self.teacher_:  # nothing was tuned: each teacher is the pretrained network
                return [encoder.run(view, {}, -1)[0]] * num_teachers
            first = encoder.first_stage(self.teacher_)
            features, hidden = encoder.run(view, self.teacher_, first)
            if num_teachers == 1:
                return [features]
            return [features, encoder.tail(hidden, self.pretrained_, first)]

    @torch.no_grad()
    def _base_logits(self) -> Tensor:
        """Return BASE's logits `(batch, outputs)` on the student's batch."""
        encoder, features = self._encoder, self._student.features
        with self._copy_running():
            if self.tunes_encoder:
                tensors = self.base_["adapters"]
                hidden, first = self._student.hidden, encoder.first_stage(tensors)
                features = encoder.tail(hidden, tensors, first)
            return encoder.classify(features, self.base_["classifier"])

    @contextmanager
    def _copy_running(self) -> Iterator[None]:
        with self._student.autocast, adapting(self._encoder.body, dropout=False):
            yield

    def _tuned_names(self) -> list[str]:
        if self.tune_from_block is None:
            return []
        last = self._encoder.stages.num_blocks - 1
        return self._encoder.names_from(min(self.tune_from_block, max(last, 0)))

    def _parameters(self, names: Iterable[str]) -> list[nn.Parameter]:
        return [self._encoder.body.get_parameter(name) for name in names]


@torch.no_grad()
def move_average(average: Mapping[str, Tensor], current: Mapping[str, Tensor], keep: float) -> None:
    """Update a moving average in place: a share `keep` of the old, the rest of the current."""
    for name, tensor in current.items():
        average[name].lerp_(tensor.to(average[name]), 1 - keep)
