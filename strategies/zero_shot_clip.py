"""Zero-shot CLIP: classify images by class names alone, without any training.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
arXiv 2103.00020, section 3.1. With the image tower `f` and the text tower `g`,

    logit_k(x) = s cos( f(x), g("a photo of a <name of k>.") )        s = logit_scale

This is the baseline to report next to every method that learns on top of CLIP. CLIP saw these
classes' names in its own training, so its figures do not compare with those of networks trained
from scratch. Its accuracy also falls over the sessions, because there are more classes to choose
from.

Differences from the paper: one template instead of an average over 80, so figures compare with
those of the few-shot literature; `s` is fixed at 100, where CLIP's learned value was clipped, which
changes no prediction; underscores in a name are read as spaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from cl_suite.data.readers.class_words import is_code
from cl_suite.errors import UserError, option
from cl_suite.models.classifier import Classifier
from cl_suite.models.heads.text import TextHead
from cl_suite.models.hub.clip import ClipBody, fill
from cl_suite.models.hub.clip_files import EXAMPLE
from cl_suite.models.hub.clip_prompts import TextTokens
from cl_suite.plugin import Requirements, StrategyPlugin, Template, Within, session_classes


@dataclass(kw_only=True, eq=False)
class ZeroShotCLIPPlugin(StrategyPlugin):
    """Use the text embeddings of the class names as the rows of the classifier.

    Args:
        template: sentence around a class name; the name replaces `{}`.
        logit_scale: factor on the cosine.
        class_names: name of each class, by class id; null: the stream's own names.
    """

    template: str = "a photo of a {}."
    logit_scale: Annotated[float, Within(0)] = 100.0
    class_names: list[str] | None = None
    names_: dict[int, str] = field(default_factory=dict, init=False)

    requirements = Requirements(text_tower=True, kinds=("class",), modalities=("image",))

    strategy_name: ClassVar[str] = "zero_shot_clip"

    def check(self) -> None:
        if "{}" not in self.template:
            raise UserError(
                f"template must have {{}} in place of the class name, got '{self.template}'"
            )

    def make_head(self, dim: int, num_classes: int, temperature: float) -> TextHead:
        return TextHead(dim, num_classes, self.logit_scale)

    def prepare_model(self, model: nn.Module) -> None:
        body = clip_body(model, self.strategy_name)
        assert isinstance(model, Classifier)
        if not isinstance(model.head, TextHead):
            # the classifier of a bare Avalanche program has another head
            head = self.make_head(model.feature_dim, model.head.num_outputs, 1.0)
            model.head = head.to(body.clip.logit_scale.device)

    def before_train_dataset_adaptation(self, template: Template, **kwargs: Any) -> None:
        self.names_.update(session_names(template, self.class_names, self.strategy_name))
        super().before_train_dataset_adaptation(template, **kwargs)

    def before_training_epoch(self, template: Template, **kwargs: Any) -> None:
        template.stop_training()

    def after_training_exp(self, template: Template, **kwargs: Any) -> None:
        self.write_rows(template.model, session_classes(template))

    def write_rows(self, model: Classifier, class_ids: Sequence[int]) -> None:
        """Store these classes' text embeddings, by the current text tower, in the head."""
        body = clip_body(model, self.strategy_name)
        names = [self.names_[class_id] for class_id in class_ids]
        model.head.set_rows(class_ids, body.embed_names(names, self.template))

    def live_rows(self, model: Classifier, class_ids: Sequence[int]) -> LiveRows:
        """Return a callable that embeds these classes' names anew in each training step."""
        body = clip_body(model, self.strategy_name)
        texts = fill(self.template, [self.names_[class_id] for class_id in class_ids])
        return LiveRows(body, list(class_ids), body.tokens(texts))


@dataclass(frozen=True)
class LiveRows:
    """Class ids and text embeddings of their names, with gradients; see `TextHead.live`."""

    body: ClipBody
    class_ids: list[int]
    tokens: TextTokens

    def __call__(self) -> tuple[list[int], Tensor]:
        return self.class_ids, self.body.encode_text(self.tokens)


def clip_body(model: nn.Module, strategy_name: str) -> ClipBody:
    """Return the CLIP of a classifier; raise `UserError` if it has none."""
    body = model.backbone.body if isinstance(model, Classifier) else None
    if not isinstance(body, ClipBody):
        raise UserError(
            f"strategy '{strategy_name}' needs a CLIP backbone, got {type(body or model).__name__};"
            f" pass {option('model.backbone', EXAMPLE)}"
        )
    return body


def session_names(
    template: Template, class_names: Sequence[str] | None, strategy_name: str
) -> dict[int, str]:
    """Return the names of the current session's classes by class id.

    Args:
        class_names: names by class id; None: the session's own.

    Raises:
        UserError: if a class has no name, or the names are numbers or codes.
    """
    known: Mapping[int, str]
    if class_names is not None:
        known = dict(enumerate(class_names))
    else:
        known = getattr(template.experience, "class_names", None) or {}
    classes = session_classes(template)
    names = {class_id: str(known[class_id]) for class_id in classes if class_id in known}
    if missing := [c for c in classes if not names.get(c, "").strip()]:
        raise UserError(
            f"strategy '{strategy_name}' reads class names, but class {missing[0]} has none; "
            f"pass one name per class by {option('strategy.class_names')}"
        )
    if all(map(is_code, names.values())):
        raise UserError(
            f"strategy '{strategy_name}' reads class names, but this session's are numbers or "
            f"codes ('{names[classes[0]]}'); pass words by {option('strategy.class_names')}, or "
            "choose a strategy that needs no names"
        )
    return names
