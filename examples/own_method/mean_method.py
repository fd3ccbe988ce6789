"""Class means as prototypes: the smallest method that learns few-shot sessions.

After Snell et al., "Prototypical Networks for Few-shot Learning", NeurIPS 2017,
arXiv 1703.05175. With `f` for the network, the row of class `c` in the head is

    W_c = (1 - shrink) m_c + shrink m      m_c = mean of f(x) over the samples of c

and `m` is the mean of all `m_c` of the session. A little shrinkage steadies means of few shots.

Differences from the paper: the network is trained by cross-entropy on the base
session, not in episodes.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated

from cl_suite.methods.head_plugin import HeadPlugin
from cl_suite.models.heads.class_head import ClassHead
from cl_suite.parameters import Within
from cl_suite.plugin import Template, session_stats


@dataclass(kw_only=True, eq=False)
class MeanPlugin(HeadPlugin):
    """Class means as prototypes; the network is trained in the base session alone.

    Args:
        shrink: share of the session's mean over all its classes in each prototype.
    """

    shrink: Annotated[float, Within(0, 1)] = 0.1
    num_learned_: int = field(default=0, init=False)  # ends in "_": saved and restored

    requirements = replace(HeadPlugin.requirements, head="cosine")
    default_config = {"training": {"base_epochs": 10, "incremental_epochs": 0}}

    def learn(self, template: Template, head: ClassHead) -> list[int]:  # after each session
        stats = session_stats(template)  # of this session's training data
        head.set_rows(stats.classes, stats.mean.lerp(stats.mean.mean(0), self.shrink))
        self.num_learned_ += len(stats.classes)
        return stats.classes

    def session_note(self, session: int) -> str:
        return f"{self.num_learned_} class means"
