"""Streams as they come: training data that are unbalanced, mislabelled or corrupted, by parameters.

Scenarios that bring new classes have these options in common. The test data never change, and
without an option the stream is the same to the bit.
"""

# annotations are not postponed: the command line resolves them for one base class alone, and a
# scenario may have two
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from cl_suite.data.blurry import blurred
from cl_suite.data.corruption import Corruption, corrupted
from cl_suite.data.cut import Sessions, all_rows, rows_by_class
from cl_suite.data.imbalance import long_tail
from cl_suite.data.label_noise import nearest, noisy_labels, others
from cl_suite.data.pool import Pool, Spoil
from cl_suite.data.samples import Samples, relabelled
from cl_suite.data.stream import Kind, Stream
from cl_suite.data.unequal_shots import counts_note
from cl_suite.parameters import Parameters, Within

LABELS, INPUTS = 1, 4  # of the streams of random numbers of one seed


@dataclass(kw_only=True, eq=False)
class AsItComes(Parameters):
    """How a stream's training data differ from clean and balanced data.

    Args:
        imbalance: long-tailed training data: how many samples the most frequent class has for one
            of the rarest. It concerns the base session, and later ones if they have full data too;
            few shots stay as they are. Null for all samples.
        label_noise: share of each class's training samples with a wrong label, that of another
            class of the session. Test labels stay right.
        label_noise_kind: which wrong labels: "symmetric" draws any other class of the session,
            "nearest" takes the one whose mean input is nearest (without a network, so it means
            little for raw waveforms).
        blurry: share of each class's training samples that come in later sessions than the class.
            Sessions then also bring more data of earlier classes; each is tested on its own. Every
            class keeps a sample in its own session.
        corruption: how training samples of the later sessions are corrupted, or of all sessions if
            they have full data: "none", "noise", "blur", "low_contrast" or "invert"; sounds take
            noise alone. Test samples stay clean.
        spoil_seed: seed of all these draws.
    """

    imbalance: Annotated[float, Within(1)] | None = None
    label_noise: Annotated[float, Within(0, 1, open_end=True)] = 0.0
    label_noise_kind: Literal["symmetric", "nearest"] = "symmetric"
    blurry: Annotated[float, Within(0, 1, open_end=True)] = 0.0
    corruption: Corruption = "none"
    spoil_seed: Annotated[int, Within(0, 2**32 - 1)] = 0

    @property
    def kind(self) -> Kind:
        """What a session brings: new classes, or also more data of earlier ones."""
        return "mixed" if self.blurry else "class"

    @property
    def spoiled_by(self) -> tuple[str, ...]:
        """Names of the options that change this stream."""
        chosen = {
            "imbalance": self.imbalance is not None,
            "label_noise": self.label_noise > 0,
            "blurry": self.blurry > 0,
            "corruption": self.corruption != "none",
        }
        return tuple(name for name, is_chosen in chosen.items() if is_chosen)

    def _cut(
        self,
        pool: Pool,
        *,
        name: str,
        sessions: Sessions,
        train_rows: Sequence[Sequence[int]],
        shots: int | Mapping[int, int] | None = None,
        notes: Sequence[str] = (),
    ) -> Stream:
        """Return `pool.stream` of these sessions with the options at work.

        Args:
            shots: of each class of the later sessions, if they are unequal by class; None if these
                sessions have full data.
        """
        num_full = len(sessions) if shots is None else 1
        rows, said = self._thinned(pool, sessions, train_rows, num_full)
        if isinstance(shots, Mapping) and shots:
            said = (*said, counts_note(shots))
        test_rows = None
        if self.blurry:
            # a session is tested on its own classes, so no test sample counts twice
            tested = rows_by_class(pool.test.targets)
            test_rows = rows if pool.test is pool.train else [all_rows(tested, c) for c in sessions]
            own, targets = rows, pool.train.targets
            sessions, rows = blurred(sessions, own, targets, self.blurry, self.spoil_seed)
            late = sum(len(set(new) - set(old)) for new, old in zip(rows, own, strict=True))
            said = (
                *said,
                f"blurry {self.blurry:g} (spoil_seed {self.spoil_seed}): {late} of "
                f"{sum(map(len, own))} training samples come in later sessions than their classes",
            )
        return pool.stream(
            name=name,
            sessions=sessions,
            train_rows=rows,
            test_rows=test_rows,
            kind=self.kind,
            shots=None if isinstance(shots, Mapping) or self.blurry else shots,
            notes=(*notes, *said),
            spoil=self._spoil(pool, sessions, first=0 if shots is None else 1),
        )

    def _thinned(
        self, pool: Pool, sessions: Sessions, train_rows: Sequence[Sequence[int]], num_full: int
    ) -> tuple[list[list[int]], tuple[str, ...]]:
        """Return the rows that imbalance leaves of the first `num_full` sessions, and a note."""
        rows = [list(each) for each in train_rows]
        if self.imbalance is None:
            return rows, ()
        targets = pool.train.targets
        full = [row for each in rows[:num_full] for row in each]
        positions = rows_by_class([targets[row] for row in full])
        by_class = {c: [full[i] for i in found] for c, found in positions.items()}
        kept = long_tail(by_class, self.imbalance, self.spoil_seed)
        left = {row for found in kept.values() for row in found}
        counts = [len(found) for found in kept.values()]
        which = "the base session" if num_full == 1 else "all sessions"
        note = (
            f"imbalance {self.imbalance:g} (spoil_seed {self.spoil_seed}): {len(left)} of "
            f"{len(full)} training samples of {which} are left, {max(counts)} of the most "
            f"frequent class and {min(counts)} of the rarest"
        )
        thinned = [[row for row in each if row in left] for each in rows[:num_full]]
        return [*thinned, *rows[num_full:]], (note,)

    def _spoil(self, pool: Pool, sessions: Sessions, first: int) -> Spoil | None:
        """Return what changes the training samples; None if nothing does.

        Args:
            first: first session whose samples are corrupted.
        """
        steps: list[Spoil] = []
        if self.label_noise:
            steps.append(partial(self._mislabelled, pool, sessions))
        # after the labels, for clean inputs say which class is nearest
        if self.corruption != "none":
            steps.append(partial(self._corrupted, first))
        return partial(_in_turn, steps) if steps else None

    def _corrupted(
        self, first: int, train: Sequence[Samples]
    ) -> tuple[list[Samples], tuple[str, ...]]:
        """Return the sessions' training samples, corrupted from one session on, and a note."""
        seed = self.spoil_seed, INPUTS
        later = [
            corrupted(samples, self.corruption, [*seed, session])
            for session, samples in enumerate(train[first:], first)
        ]
        note = (
            f"corruption {self.corruption} (spoil_seed {self.spoil_seed}): "
            f"{sum(map(len, later))} of {sum(map(len, train))} training samples are corrupted; the "
            "test data are clean"
        )
        return [*train[:first], *later], (note,)

    def _mislabelled(
        self, pool: Pool, sessions: Sessions, train: Sequence[Samples]
    ) -> tuple[list[Samples], tuple[str, ...]]:
        """Return the sessions' training samples with some wrong labels, and a note."""
        found, wrong = [], Counter[bool]()
        for session, samples in enumerate(train):
            known = (
                nearest(samples, pool.eval_transform)
                if self.label_noise_kind == "nearest"
                else others(sessions[session])
            )
            seed = [self.spoil_seed, LABELS, session]
            labels = noisy_labels(samples.targets, self.label_noise, known, seed)
            wrong.update(a != b for a, b in zip(samples.targets, labels, strict=True))
            found.append(relabelled(samples, labels))
        note = (
            f"label_noise {self.label_noise:g} ({self.label_noise_kind}, spoil_seed "
            f"{self.spoil_seed}): {wrong[True]} of {wrong.total()} training labels are wrong; the "
            "test data are clean"
        )
        return found, (note,)


def _in_turn(
    steps: Sequence[Spoil], train: Sequence[Samples]
) -> tuple[list[Samples], tuple[str, ...]]:
    found = list(train)
    said: tuple[str, ...] = ()
    for step in steps:
        found, more = step(found)
        said = (*said, *more)
    return found, said
