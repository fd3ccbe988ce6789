"""Few-shot streams whose classes may have unequal numbers of shots."""

# annotations are not postponed, see `as_it_comes`
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from cl_suite.data.unequal_shots import shot_counts, shot_range
from cl_suite.parameters import Within
from cl_suite.scenarios.as_it_comes import AsItComes

Shots = TypeVar("Shots", bound=int | None)


@dataclass(kw_only=True, eq=False)
class FewShots(AsItComes):
    """How a few-shot stream's training data differ from clean, balanced and equal shots.

    Args:
        unequal_shots: numbers of shots instead of `shots`: a range such as 1..10, from which
            `spoil_seed` draws the number of each class with few shots, or a list with the number of
            each in order of arrival. Null for `shots` of each.
    """

    unequal_shots: list[Annotated[int, Within(1)]] | str | None = None

    @property
    def spoiled_by(self) -> tuple[str, ...]:
        """Names of the options that change this stream."""
        own = () if self.unequal_shots is None else ("unequal_shots",)
        return (*super().spoiled_by, *own)

    def check(self) -> None:
        """Raise `UserError` for a text that is no range."""
        super().check()
        if isinstance(self.unequal_shots, str):
            shot_range(self.unequal_shots)

    def _shots_of(self, few: Sequence[Sequence[int]], shots: Shots) -> Shots | dict[int, int]:
        """Return the number of shots of every class, or one number for all.

        Args:
            few: classes of the sessions with few shots.
            shots: the parameter `shots`.
        """
        if self.unequal_shots is None:
            return shots
        classes = [c for classes in few for c in classes]
        return shot_counts(self.unequal_shots, classes, self.spoil_seed)
