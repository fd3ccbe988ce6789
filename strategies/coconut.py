"""COCONUT: rehearsal with two contrastive terms, one against forgetting, one for new classes.

Cappellazzo, Fini, Yang, Falavigna, Brutti, Raj, "Continual Contrastive Spoken Language
Understanding", ACL Findings 2024, arXiv 2310.02699. A small share of each session's samples is kept
and shuffled into the next session's data (`replay: union`). Of a batch `I`, `I_r` are the samples
of earlier sessions' classes, `I_c` the others. The teacher is the network at the end of the last
session. `a` and `b` are the unit projections of a sample's features by the student and by the
teacher, `t` is that of the sample in a second modality:

    L = L_CE + multimodal_weight L_MM + nspt_weight L_NSPT           (no L_NSPT in session 0)

    L_NSPT = mean_{k in I_r} -1/|P(k)| sum_{p in P(k)} log( exp(a_k.b_p / T)
                                                            / sum_{i in I} exp(a_k.a_i / T) )
    L_MM   = -1/2 mean_{k in I_c} [ log( exp(a_k.t_k / T) / sum_{i in I} exp(a_k.t_i / T) )
                                  + log( exp(t_k.a_k / T) / sum_{i in I} exp(t_k.a_i / T) ) ]

`P(k)` are the samples in `I_r` of k's class, k itself among them. Positives are the teacher's and
negatives the student's, because the teacher has never seen new classes. See `losses.nspt` for the
other denominators.

This is the form for classification. The paper's network is a speech encoder and a decoder that
writes the transcript with the intent in it. The differences:
    - The cross-entropy over next tokens becomes one over the classes seen so far, and beam search
      becomes the largest logit. There is no padding to leave out. The encoder is any backbone.
    - Their second modality is the transcript, the mean of the decoder's token embeddings. A class
      has no transcript, so the default here is one learned row for each class. All samples of a
      class then have one text, and L_MM is the supervised contrast between samples and classes
      (equal texts stay in the denominator, as in the paper). Names as sequences of tokens would
      share words between classes, but few data sets have names that do.
    - `modality` offers others: "view" is a second random view. "text" is the class's name embedded
      by the text tower of a CLIP, once when the class arrives (no gradient flows into the tower).
      "none" leaves L_MM out.
    - The projections are linear maps, to 256 dimensions. Their width, the temperatures, L_MM's
      weight and mean instead of sum are our reading, because the paper's programs are not public.
    - A share (`buffer: 1%`) keeps at least one sample of each class, so it can be exceeded.
    - If no class of a session is new, `n_new` counts all of its classes.
    - The teacher sees the same view as the student, in eval mode, and only the part of a batch that
      the denominator reads: the kept samples, except for "teacher_all".

L_NSPT's default weight is `n_old / n_new`, which grows with the sessions. It gains on features of a
pretrained network (table `rehearsal_features`), and hurts a small network from scratch, where 0.1
and 0.3 are level with plain rehearsal (`spoken_digits`). Leaving the sample itself out of the
denominator is behind on both. Both terms act through
the features alone. If the backbone is frozen, they train only the projections, which have no part
in predictions; predictions are then those of plain rehearsal.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from cl_suite.errors import option
from cl_suite.losses.nspt import Anchors, Denominator, multimodal_loss, nspt_loss
from cl_suite.methods.replay.rehearsal import RehearsalPlugin, Replay
from cl_suite.methods.self_supervised.projections import Projections
from cl_suite.models.classifier import Classifier
from cl_suite.models.features import FeatureTap, classifier_of, feature_function
from cl_suite.plugin import (
    BatchLayout,
    Requirements,
    Template,
    Within,
    session_classes,
    views_of,
    warn_of_one_view,
)
from cl_suite.strategies.zero_shot_clip import clip_body, session_names

Modality = Literal["label", "view", "text", "none"]
MultimodalAnchors = Literal["current", "all"]
MeanOrSum = Literal["mean", "sum"]


@dataclass(kw_only=True, eq=False)
class COCONUTPlugin(RehearsalPlugin):
    """Cross-entropy on new and kept samples, and two contrastive terms on projected features.

    Args:
        nspt_weight: weight of L_NSPT; null: number of old classes over that of new ones; 0: none.
        denominator: form of L_NSPT, see `nspt_loss`; teacher_all is the usual distillation (NTPT).
        anchors: anchors of L_NSPT: rehearsal samples or all.
        reduction: mean or sum of L_NSPT over the anchors of a batch.
        multimodal_weight: weight of L_MM; 0: none.
        modality: counterpart of a sample's embedding: label (a learned row of its class), view (a
            second random view of it), text (CLIP's embedding of its class's name) or none.
        multimodal_anchors: anchors of L_MM: samples of current classes or all.
        temperature: `T` of both terms.
        projection_dim: width of the projections.
        template: for modality text: sentence with `{}` in place of the class's name.
        class_names: for modality text: name of each class, by class id; null: the stream's names.
    """

    replay: Replay = "union"
    nspt_weight: Annotated[float, Within(0)] | None = None
    denominator: Denominator = "student_all"
    anchors: Anchors = "rehearsal"
    reduction: MeanOrSum = "mean"
    multimodal_weight: Annotated[float, Within(0)] = 0.1
    modality: Modality = "label"
    multimodal_anchors: MultimodalAnchors = "current"
    temperature: Annotated[float, Within(1e-3)] = 0.1
    projection_dim: Annotated[int, Within(1)] = 256
    template: str = "{}."
    class_names: list[str] | None = None
    # (dim,) text embedding of each class's name
    texts_: dict[int, Tensor] = field(default_factory=dict, init=False)

    needs_teacher = True

    _tap: FeatureTap = field(init=False, repr=False)  # of the batch under way
    _nspt_weight: float = field(init=False, repr=False)  # in the session under way

    @property
    def has_second(self) -> bool:
        """Whether there is a second modality."""
        return self.modality != "none" and self.multimodal_weight > 0

    @property
    def requirements(self) -> Requirements:  # type: ignore[override]  # parameters decide
        """A second view, if that is the second modality."""
        views = 2 if self.has_second and self.modality == "view" else 1
        return Requirements(batch=BatchLayout(views=views))

    @property
    def runs_network(self) -> bool:
        return True

    def prepare_model(self, model: nn.Module) -> None:
        if self.has_second and self.modality == "text":
            clip_body(model, "coconut")
        if hasattr(model, "coconut"):
            return
        if isinstance(model, Classifier):
            dim = model.feature_dim
        else:
            last = classifier_of(model)
            assert isinstance(last, nn.Linear), "true of every foreign network"
            dim = last.in_features
        device = next(classifier_of(model).parameters()).device
        model.coconut = Projections(
            dim,
            self.projection_dim,
            second=self.has_second,
            labels=self.has_second and self.modality == "label",
        ).to(device)

    def before_training(self, template: Template, **kwargs: Any) -> None:
        super().before_training(template, **kwargs)
        if not self.old_classes:
            warn_of_frozen(template.model)

    def before_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        super().before_train_dataset_adaptation(template, **kwargs)
        if not self.has_second:
            return
        if self.modality == "label":
            projections_of(template.model).labels.grow(session_classes(template))
        elif self.modality == "text":
            names = session_names(template, self.class_names, "coconut")
            new = [class_id for class_id in names if class_id not in self.texts_]
            body = clip_body(template.model, "coconut")
            rows = body.embed_names([names[class_id] for class_id in new], self.template)
            self.texts_ = {**self.texts_, **dict(zip(new, rows.cpu(), strict=True))}

    def before_training_exp(self, template: Template, **kwargs: Any) -> None:
        super().before_training_exp(template, **kwargs)
        session = session_classes(template)
        self._nspt_weight = (
            default_nspt_weight(self.old_classes, session)
            if self.nspt_weight is None
            else self.nspt_weight
        )

    def before_forward(self, template: Template, **kwargs: Any) -> None:
        self._tap = FeatureTap(template.model)

    def after_forward(self, template: Template, **kwargs: Any) -> None:
        self._tap.end()

    def before_backward(self, template: Template, **kwargs: Any) -> None:
        rehearsal = self.is_old(template.mb_y)
        with self._tap.autocast:
            student = projections_of(template.model).first(self._tap.features)
        teacher = self.teacher(template)
        if teacher is not None and self._nspt_weight > 0:
            template.loss = template.loss + self._nspt_weight * nspt_loss(
                student,
                self._teacher_projections(template, teacher, rehearsal),
                labels=template.mb_y,
                rehearsal=rehearsal,
                temperature=self.temperature,
                denominator=self.denominator,
                anchors=self.anchors,
                reduction=self.reduction,
            )
        if self.has_second:
            template.loss = template.loss + self.multimodal_weight * multimodal_loss(
                student,
                self._second_projections(template),
                anchors=~rehearsal if self.multimodal_anchors == "current" else None,
                temperature=self.temperature,
            )

    def _teacher_projections(
        self, template: Template, teacher: nn.Module, rehearsal: Tensor
    ) -> Tensor:
        """Return the teacher's projections `(batch, projection_dim)`, zeros in rows not read."""
        reads_all = self.denominator == "teacher_all" and bool(rehearsal.any())
        read = torch.ones_like(rehearsal) if reads_all or self.anchors == "all" else rehearsal
        rows = self._tap.features.new_zeros(
            len(rehearsal), self.projection_dim, dtype=torch.float32
        )
        if read.any():
            with torch.no_grad(), self._tap.autocast:
                features = feature_function(teacher)(template.mb_x[read])
                rows[read] = projections_of(teacher).first(features).to(rows)
        return rows

    def _second_projections(self, template: Template) -> Tensor:
        """Return the projections `(batch, projection_dim)` of the batch in the second modality."""
        projections = projections_of(template.model)
        with self._tap.autocast:
            if self.modality == "label":
                rows = projections.labels.embedding(template.mb_y)
            elif self.modality == "view":
                first, second = views_of(template, self)
                if template.clock.train_exp_iterations == 0:
                    warn_of_one_view(first, second, "coconut", "choose modality label")
                rows = feature_function(template.model)(second)
            else:
                classes, place = torch.unique(template.mb_y, return_inverse=True)
                texts = torch.stack([self.texts_[c] for c in classes.tolist()])
                rows = texts.to(place.device)[place]
            projected: Tensor = projections.second(rows)
            return projected


CoconutPlugin = COCONUTPlugin  # its former name


def projections_of(model: nn.Module) -> Projections:
    """Return the projections that `prepare_model` added to a network, or to its copy."""
    found = model.coconut
    assert isinstance(found, Projections), "made before training"
    return found


def default_nspt_weight(old_classes: Sequence[int], session_classes: Sequence[int]) -> float:
    """Return the number of old classes over that of new ones (over all, if none is new)."""
    new = set(session_classes) - set(old_classes)
    return len(old_classes) / (len(new) or len(session_classes))


def warn_of_frozen(model: nn.Module) -> None:
    """Warn if no feature can change."""
    if isinstance(model, Classifier) and model.backbone.frozen:
        warnings.warn(
            f"coconut acts through the backbone's features; {option('model.frozen')} keeps them "
            "unchanged, so predictions are those of er; pass false, or choose er",
            stacklevel=2,
        )
