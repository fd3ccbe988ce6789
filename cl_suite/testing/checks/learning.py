"""What a method promises of training and prediction on any stream."""

from __future__ import annotations

import torch

from cl_suite.data.stream import Stream
from cl_suite.testing.subject import Subject, claim, differences, train, weights


def sessions_of_one_image_work(subject: Subject) -> None:
    """A session of one sample, or of the fewest that the requirements name, is learned."""
    fewest = subject.requirements.batch.smallest
    stream = subject.stream([[3, 0], [1]], base_shots=4, shots=fewest)
    engine = subject.trained(stream, batch_size=max(4, fewest))
    learned = sorted(engine.model.head.classes)
    expected = _rows(subject, stream, [0, 1, 3])
    claim(learned == expected, f"the head has classes {learned}, expected {expected}")
    claim(int(engine.evaluate(1).sum()) == _num_tests(stream, 1), "not every sample was predicted")


def base_session_of_one_image_a_class_works(subject: Subject) -> None:
    """A base session with one sample a class is learned."""
    stream = subject.stream([[3, 0, 2], [1]], base_shots=1, shots=1)
    confusion = subject.trained(stream).evaluate(1)
    claim(int(confusion.sum()) == _num_tests(stream, 1), "not every sample was predicted")


def class_ids_may_come_in_any_order(subject: Subject) -> None:
    """After each session every sample is predicted, as one of the classes seen so far."""
    engine = subject.engine()
    info = engine.stream.info
    for session in range(info.num_sessions):
        engine.train_session(session)
        seen = list(info.seen_classes(session))
        confusion = engine.evaluate(session)
        inside = int(confusion[seen][:, seen].sum())
        total = _num_tests(engine.stream, session)
        claim(
            inside == int(confusion.sum()) == total,
            f"session {session}: {inside} of {total} predictions are of classes seen so far",
        )


def same_seed_gives_the_same_bits(subject: Subject) -> None:
    """Two trainings from one seed end with equal tensors."""
    first = weights(subject.trained())
    changed = differences(subject.trained(), first)
    claim(not changed, f"a second training ended with other values in {changed[:3]}")


def train_mode_is_restored(subject: Subject) -> None:
    """Training ends in train mode, and evaluation leaves every module's mode alone."""
    engine = subject.engine()
    engine.model.train()
    engine.train_session(0)
    claim(engine.model.training, "the network is in eval mode after a session")
    modes = {name: part.training for name, part in engine.model.named_modules()}
    engine.evaluate(0)
    changed = [n for n, part in engine.model.named_modules() if part.training != modes[n]]
    claim(not changed, f"evaluation changed the mode of {changed[:3]}")


def bfloat16_autocast_trains(subject: Subject) -> None:
    """With `precision: bfloat16` losses and tensors are finite, and tensors keep their type."""
    losses: list[float | None] = []
    engine = subject.engine(precision="bfloat16")
    engine.on_epoch = lambda record: losses.append(record.loss)
    train(engine)
    finite = all(loss is None or torch.tensor(loss).isfinite() for loss in losses)
    claim(finite, f"losses of epochs: {losses}")
    for name, tensor in engine.model.state_dict().items():
        claim(bool(tensor.isfinite().all()), f"{name} is not finite")
        claim(tensor.dtype != torch.bfloat16, f"{name} was turned into bfloat16")


def predictions_do_not_depend_on_the_batch(subject: Subject) -> None:
    """A sample's scores are the same alone and in any batch."""
    engine = subject.trained()
    model = engine.model.eval()
    samples = engine.stream.test[0]
    raw = torch.stack([samples[i][0] for i in range(len(samples))])
    images = engine.stream.info.eval_transform(raw)
    function = model if subject.requirements.classifier else model.features
    with torch.no_grad():
        together = function(images)
        alone = torch.cat([function(image[None]) for image in images])
    # kernels for one image and for many round differently in the last bits
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
    claim(alone.argmax(1).equal(together.argmax(1)), "a sample's prediction depends on its batch")


def evaluation_changes_nothing_learned(subject: Subject) -> None:
    """Evaluation, also of classes to come, changes no tensor, and no head grows by it."""
    engine = subject.engine()
    engine.train_session(0)
    before, classes = weights(engine), sorted(engine.model.head.classes)
    seen = _rows(subject, engine.stream, sorted(engine.stream.info.seen_classes(0)))
    claim(classes == seen, f"the head has classes {classes}, session 0 has {seen}")
    engine.evaluate(engine.stream.info.num_sessions - 1)
    changed = differences(engine, before)
    claim(not changed, f"evaluation changed {changed[:3]}")
    claim(sorted(engine.model.head.classes) == classes, "the head grew while evaluating")


def _rows(subject: Subject, stream: Stream, seen: list[int]) -> list[int]:
    """Return the classes that the head must have a row for, ascending."""
    if subject.requirements.all_rows:
        return list(range(stream.info.num_classes))
    return seen if subject.requirements.classifier else []


def _num_tests(stream: Stream, session: int) -> int:
    return sum(len(samples) for samples in stream.test[: session + 1])


LEARNING_CHECKS = (
    sessions_of_one_image_work,
    base_session_of_one_image_a_class_works,
    class_ids_may_come_in_any_order,
    same_seed_gives_the_same_bits,
    train_mode_is_restored,
    bfloat16_autocast_trains,
    predictions_do_not_depend_on_the_batch,
    evaluation_changes_nothing_learned,
)
