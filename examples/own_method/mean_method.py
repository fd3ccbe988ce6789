"""Class means as prototypes: the smallest method that learns few-shot sessions.

After Snell et al., "Prototypical Networks for Few-shot Learning", NeurIPS 2017,
arXiv 1703.05175. With `f` for the network, the row of class `c` in the head is

    W_c = scale * mean of f(x) over the training samples of c

Differences from the paper: the network is trained by cross-entropy on the base
session, not in episodes.
"""

from dataclasses import dataclass, field
from typing import Annotated

from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.parameters import Within
from cl_suite.plugin import Template, session_stats
from cl_suite.requirements import Requirements


@dataclass(kw_only=True, eq=False)
class MeanPlugin(HeadPlugin):
    """Class means as prototypes; the network is trained in the base session alone.

    Args:
        scale: factor on the prototypes.
    """

    scale: Annotated[float, Within(0)] = 1.0
    num_learned_: int = field(default=0, init=False)  # ends in "_": saved and restored

    requirements = Requirements(head="cosine", kinds=("class",))
    default_config = {"training": {"base_epochs": 10, "incremental_epochs": 0}}

    def learn(self, template: Template, head: ClassHead) -> list[int]:  # after each session
        stats = session_stats(template)  # of this session's training data
        head.set_rows(stats.classes, self.scale * stats.mean)
        self.num_learned_ += len(stats.classes)
        return stats.classes

    def session_note(self, session: int) -> str:
        return f"{self.num_learned_} class means"
