"""The JSON interface: each request becomes one call of the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from fastapi.responses import JSONResponse

from cl_suite import __version__
from cl_suite.learner.answers import Evaluation, Learned
from cl_suite.learner.learner import Learner
from cl_suite.learner.serve import schemas
from cl_suite.learner.serve.held_out import HeldOut, Progress
from cl_suite.learner.serve.limits import RefusedError
from cl_suite.learner.serve.service import Answer, Service
from cl_suite.learner.serve.uploads import Upload
from cl_suite.learner.steps import LONGEST_LABEL

REASONS = {
    400: "The body cannot be parsed.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site, or names another host.",
    404: "There is no such thing.",
    408: "The request took too long to arrive.",
    409: "The classifier's state does not allow it.",
    413: "The request, a file or a picture is too large.",
    415: "No file is a picture that can be read.",
    422: "A value is missing or not allowed.",
    503: "The server is busy, or the classifier's file cannot be used now.",
}
ALWAYS = (401, 403, 413, 503)

Files = Annotated[list[UploadFile], File(description="pictures", min_length=1)]
Label = Annotated[
    str, Form(description="name of the class", min_length=1, max_length=LONGEST_LABEL)
]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of refused requests, with the statuses that all may have."""
    return {
        status: {"model": schemas.Problem, "description": REASONS[status]}
        for status in sorted({*ALWAYS, *statuses})
    }


def service_of(request: Request) -> Service:
    """Return the application's service."""
    service: Service = request.app.state.service
    return service


def held_out_of(request: Request) -> HeldOut:
    """Return the application's held-out folder.

    Raises:
        RefusedError: if it has none.
    """
    held_out: HeldOut | None = request.app.state.held_out
    if held_out is None:
        raise RefusedError(
            404, "no held-out folder was named; start the server with --held-out FOLDER"
        )
    return held_out


Served = Annotated[Service, Depends(service_of)]
Measured = Annotated[HeldOut, Depends(held_out_of)]
readers, writers = APIRouter(prefix="/api", tags=["read"]), APIRouter(prefix="/api", tags=["write"])


@readers.get("/info", responses=refusals())
def info(request: Request, service: Served) -> schemas.Info:
    """Return the classes, and how the classifier works."""
    learner, held_out = service.current(), request.app.state.held_out
    limits = service.limits
    with learner.at_rest():
        counts = learner.counts
        calibration = _calibration(learner) if counts else None
    return schemas.Info(
        file=service.path.name,
        classes=[schemas.KnownClass(label=name, pictures=num) for name, num in counts.items()],
        pictures=sum(counts.values()),
        rule=learner.rule.name,
        backbone=learner.spec.name,
        input_shape=list(learner.spec.input_shape),
        calibration=calibration,
        false_alarms=learner.false_alarms,
        note=learner.note,
        can_undo=service.can_undo,
        held_out=None if held_out is None else held_out.folder.name,
        limits=schemas.LimitsInfo(
            request_bytes=limits.request_bytes,
            file_bytes=limits.file_bytes,
            files=limits.files,
            pixels=limits.pixels,
            request_pixels=limits.request_pixels,
            label_characters=LONGEST_LABEL,
        ),
        version=__version__,
    )


@readers.post("/predict", responses=refusals(400, 408, 409, 415, 422))
def predict(
    service: Served,
    files: Files,
    top: Annotated[int, Form(ge=1, le=100, description="classes to list for each picture")] = 5,
    nearest: Annotated[int, Form(ge=0, le=16, description="number of training pictures")] = 0,
) -> schemas.Predictions:
    """Return what pictures show; nothing is kept of them."""
    found = service.predict(_uploads(files), top, nearest)
    return schemas.Predictions(predictions=[_picture_answer(one) for one in found])


@readers.get("/history", responses=refusals(422))
def history(
    service: Served, limit: Annotated[int, Query(ge=1, le=1000, description="of steps")] = 50
) -> schemas.History:
    """Return what happened to the classifier, newest first."""
    every = service.current().history
    return schemas.History(steps=[_step(one) for one in reversed(every[-limit:])], total=len(every))


@readers.get(
    "/evaluate",
    responses={
        202: {"model": schemas.Reading, "description": "The folder is still being read."},
        **refusals(404, 409),
    },
)
def evaluate(service: Served, held_out: Measured) -> schemas.Accuracy:
    """Return the figures on the held-out folder, for the classes of this moment."""
    found = held_out.evaluation(service.current())
    if isinstance(found, Progress):
        return _reading(found)  # type: ignore[return-value]  # a response stands for itself
    return _accuracy(found)


@writers.post("/evaluate", status_code=202, responses=refusals(404))
def evaluate_again(service: Served, held_out: Measured) -> schemas.Reading:
    """Read the held-out folder again, after its pictures have changed."""
    found = held_out.start(service.current())
    return schemas.Reading(done=found.done, total=found.total)


@writers.post("/learn", responses=refusals(400, 408, 409, 415, 422))
def learn(service: Served, files: Files, label: Label) -> schemas.LearnedAnswer:
    """Teach pictures of a new class, or more of a known one."""
    return _learned(service.learn(_uploads(files), label))


@writers.post("/undo", responses=refusals(409))
def undo(service: Served) -> schemas.Undone:
    """Take the last step back, whoever made it; one step is kept."""
    step = service.undo()
    if step is None:
        return schemas.Undone(step=None, message="the previous version is back")
    return schemas.Undone(step=_step(step), message=f"the step '{step['step']}' is undone")


@writers.post("/forget", responses=refusals(400, 404, 408, 422))
def forget(service: Served, wanted: schemas.ForgetRequest) -> schemas.Changed:
    """Forget a class, as if it had never been learned."""
    service.forget(wanted.label)
    return schemas.Changed(label=wanted.label, message=f"forgot '{wanted.label}'")


@writers.post("/rename", responses=refusals(400, 404, 408, 409, 422))
def rename(service: Served, wanted: schemas.RenameRequest) -> schemas.Changed:
    """Give a class another name."""
    new = service.rename(wanted.label, wanted.to)
    return schemas.Changed(label=new, message=f"renamed '{wanted.label}' to '{new}'")


def _uploads(files: Sequence[UploadFile]) -> list[Upload]:
    return [Upload(file.filename or "", file.file.read()) for file in files]


def _calibration(learner: Learner) -> schemas.CalibrationInfo:
    found = learner.calibration
    return schemas.CalibrationInfo(
        scale=found.scale, threshold=found.threshold, pictures=found.num_scored
    )


def _picture_answer(answer: Answer) -> schemas.PictureAnswer:
    found = answer.prediction
    return schemas.PictureAnswer(
        image=found.name,
        label=found.label,
        unknown=found.is_unknown,
        familiarity=None if found.error is not None else found.familiarity,
        top=[
            # float32 sums may pass 1 by a rounding
            schemas.Guess(label=label, probability=min(1.0, probability))
            for label, probability in zip(found.labels, found.probabilities, strict=True)
        ],
        nearest=[schemas.NearPicture(**vars(one)) for one in answer.neighbours],
        error=found.error,
    )


def _learned(found: Learned) -> schemas.LearnedAnswer:
    return schemas.LearnedAnswer(
        label=found.label,
        new=found.is_new,
        added=found.added,
        known=found.known,
        total=found.total,
        skipped=[schemas.UnreadPicture(image=one.name, error=one.reason) for one in found.skipped],
        message=found.in_words(),
    )


def _step(step: Mapping[str, Any]) -> schemas.Step:
    pictures = step.get("pictures", 0)
    return schemas.Step(
        step=step["step"],
        when=step["when"],
        label=step.get("label"),
        to=step.get("to"),
        pictures=pictures if isinstance(pictures, int) else len(pictures),
    )


def _reading(found: Progress) -> JSONResponse:
    content = schemas.Reading(done=found.done, total=found.total).model_dump()
    return JSONResponse(content, 202, headers={"retry-after": "1"})


def _accuracy(found: Evaluation) -> schemas.Accuracy:
    return schemas.Accuracy(
        accuracy=found.accuracy,
        pictures=found.num_pictures,
        right=found.num_right,
        called_unknown=found.num_rejected,
        calibration_error=found.calibration_error,
        strangers=found.num_strangers,
        strangers_called_unknown=found.num_strangers_found,
        auroc=found.auroc,
        by_class=[
            schemas.ClassFigures(label=label, pictures=num, right=right)
            for label, (num, right) in found.by_class.items()
        ],
        skipped=[schemas.UnreadPicture(image=one.name, error=one.reason) for one in found.skipped],
    )
