"""BiMC: text and image prototypes of a frozen CLIP, fused without any training.

Chen, Ding, Wang, Huo, Gao, Li, "Enhancing Few-Shot Class-Incremental Learning via Training-Free
Bi-Level Modality Calibration", CVPR 2025 (openaccess.thecvf.com). A class's name says what five
images cannot, and images say what a name cannot. With `t_k` the unit text embedding of the prompt,
`d_k` the unit mean of the embeddings of texts that describe the class, and `v_k` the unit mean of
its unit image features:

    v'_k = v_k                                                                base classes
    v'_k = unit( (1 - a) v_k + a sum_b softmax_b(16 v_k . v_b) v_b )          a  = shift_weight
    p_k  = unit( w [ (1 - r) t_k + r d_k ] + (1 - w) v'_k )                   w  = text_weight
    score_k(x) = s cos(x, p_k)                                                r  = description_share

The descriptions are data: a file with texts by class name, written by anybody or by a language
model. A class without any has `d_k = t_k`. Nothing is trained; a later session costs one pass over
its images and texts. CLIP saw these classes' names in its own training, so figures do not compare
with those of networks without text (see `zero_shot_clip`).

Differences from the authors' code:
    - `text_weight` is chosen on fake few-shot streams cut from the base session's training data;
      theirs is set for each data set (0.65, 0.3, ...).
    - Their second classifier, by Mahalanobis distance with the mean covariance of all classes, and
      its mixture with this one, are left out.
    - Their descriptions come from a language model and one file for each data set; ours are the
      user's, and none by default.
    - One template, as in `zero_shot_clip`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from cl_suite.data.readers.descriptions import plain_name, read_descriptions
from cl_suite.data.stream import StreamInfo
from cl_suite.errors import UserError, option
from cl_suite.features.calibrators import calibrate_directions
from cl_suite.features.stats import class_stats, unit
from cl_suite.methods.episodes.tuning import FakeTask, choice_note, choose_value, fake_figures
from cl_suite.models.classifier import Classifier
from cl_suite.plugin import Template, Within, session_features
from cl_suite.strategies.zero_shot_clip import ZeroShotCLIPPlugin, clip_body

TEXT_WEIGHTS = tuple(step / 20 for step in range(21))
DEFAULT_TEXT_WEIGHT = 0.5


@dataclass(kw_only=True, eq=False)
class BiMCPlugin(ZeroShotCLIPPlugin):
    """Score images against fused text and image prototypes; new classes' images are calibrated.

    Args:
        descriptions: YAML or JSON file that maps class names to a text or a list of texts; null:
            names alone.
        text_weight: share of the text in a prototype, in [0, 1]; null: chosen on fake streams, or
            0.5 if the base session is too small for that.
        description_share: share of the descriptions in the text, in [0, 1].
        shift_weight: share of the base part in a new class's image prototype, in [0, 1].
        softmax_t: sharpness of the weights over base classes.
        choice_seed: seed of the fake streams.
        fake_shots: shots of each new class in a fake stream.
    """

    descriptions: str | None = None
    text_weight: Annotated[float, Within(0, 1)] | None = None
    description_share: Annotated[float, Within(0, 1)] = 0.5
    shift_weight: Annotated[float, Within(0, 1)] = 0.1
    softmax_t: Annotated[float, Within(0)] = 16.0
    choice_seed: Annotated[int, Within(0)] = 0
    fake_shots: Annotated[int, Within(1)] = 5
    text_weight_: float = field(default=DEFAULT_TEXT_WEIGHT, init=False)  # the value in use
    choice_: dict[str, Any] = field(default_factory=dict, init=False)  # how the candidates fared
    # (num_base, dim) image prototypes
    base_images_: Tensor | None = field(default=None, init=False)

    _described: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False)

    strategy_name = "bimc"

    def check(self) -> None:
        super().check()
        if self.descriptions is not None:
            self._described = read_descriptions(self.descriptions)

    def check_stream(self, info: StreamInfo, session_sizes: Sequence[int]) -> None:
        super().check_stream(info, session_sizes)
        base = [info.class_names[class_id] for class_id in info.session_classes[0]]
        if self._described and not any(plain_name(name) in self._described for name in base):
            raise self._undescribed("the base session's", base)

    def session_note(self, session: int) -> str:
        return choice_note(self.choice_) if session == 0 else ""

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        features, labels = session_features(template)
        features = unit(features.double())
        stats = class_stats(features, labels)
        texts = self.text_prototypes(template.model, stats.classes)
        if self.base_images_ is None:
            self._choose(features, labels, texts)
            images = self.base_images_ = unit(stats.mean)
        else:
            images = self._calibrated(stats.mean, self.base_images_.to(features))
        rows = unit(fused(texts, images, self.text_weight_))
        template.model.head.set_rows(stats.classes, rows)

    def text_prototypes(self, model: Classifier, class_ids: Sequence[int]) -> Tensor:
        """Return the text part of these classes' prototypes, `(num_classes, dim)`, float64.

        Raises:
            UserError: if there are descriptions, but none of a base class.
        """
        body = clip_body(model, self.strategy_name)
        names = [self.names_[class_id] for class_id in class_ids]
        prompts = unit(body.embed_names(names, self.template).double())
        if not self._described:
            return prompts
        own = [self._described.get(plain_name(name), []) for name in names]
        if self.base_images_ is None and not any(own):
            raise self._undescribed("this session's", names)
        means = prompts.clone()
        for row, texts in enumerate(own):
            if texts:
                means[row] = unit(body.embed_names(texts, "{}").double()).mean(0)
        return fused(unit(means), prompts, self.description_share)

    def _undescribed(self, whose: str, names: Sequence[str]) -> UserError:
        return UserError(
            f"the file of {option('strategy.descriptions')} describes none of {whose} classes, "
            f"such as '{names[0]}'; name the classes as the stream does"
        )

    def _calibrated(self, means: Tensor, base: Tensor) -> Tensor:
        shifted = calibrate_directions(
            means,
            base,
            softmax_t=self.softmax_t,
            shift_weight=self.shift_weight,
            normalize_delta=False,
        )
        return unit(shifted)

    def _choose(self, features: Tensor, labels: Tensor, texts: Tensor) -> None:
        if self.text_weight is not None:
            self.text_weight_ = self.text_weight
            return
        choice = choose_value(
            "text_weight",
            TEXT_WEIGHTS,
            labels,
            lambda task: self._figures(features, labels, texts, task),
            seed=self.choice_seed,
            shots=self.fake_shots,
        )
        if choice is not None:
            self.text_weight_, self.choice_ = choice.best["text_weight"], choice.state_dict()

    def _figures(self, features: Tensor, labels: Tensor, texts: Tensor, task: FakeTask) -> Tensor:
        """Return the figures `(len(TEXT_WEIGHTS), 2)` of each weight in a fake stream.

        Args:
            features: `(n, dim)` unit features of the base session.
            texts: `(num_base, dim)` of the base classes, by ascending id.
        """
        columns = task.columns(labels)
        base, new = (
            unit(class_stats(features[rows], columns[rows]).mean)
            for rows in (task.train, task.shots)
        )
        images = torch.cat([base, self._calibrated(new, base)])
        texts = texts[torch.searchsorted(torch.unique(labels), task.classes)]
        prototypes = [unit(fused(texts, images, weight)) for weight in TEXT_WEIGHTS]
        queries = features[task.test]
        return torch.cat([fake_figures(queries @ rows.T, labels, task) for rows in prototypes])


def fused(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Return the mixture of unit vectors `share first + (1 - share) second`, not of unit length."""
    return share * first + (1 - share) * second
