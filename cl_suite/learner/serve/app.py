"""The application: the JSON interface under `/api`, and the page that uses it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from cl_suite import __version__
from cl_suite.errors import UserError
from cl_suite.learner.serve.guard import Guard
from cl_suite.learner.serve.held_out import HeldOut
from cl_suite.learner.serve.limits import Access, RefusedError
from cl_suite.learner.serve.routes import readers, writers
from cl_suite.learner.serve.service import Service

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
SCRIPTS = ("page.js", "api.js", "cards.js", "dom.js", "panels.js")
DESCRIPTION = (
    "A classifier that goes on learning. Requests that change it need the token that was set or "
    "printed when the server started; an answer of 200 means that the classifier's file has the "
    "change."
)
log = logging.getLogger("uvicorn.error")


def make_app(service: Service, access: Access, held_out: HeldOut | None = None) -> FastAPI:
    """Return the application that serves a classifier.

    Args:
        access: who may ask what.
        held_out: the folder that accuracy is measured on.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if held_out is not None:
            held_out.start(service.current())
        yield
        if held_out is not None:
            held_out.stop()

    app = FastAPI(
        title="cl-suite serve",
        description=DESCRIPTION,
        version=__version__,
        openapi_url="/api/openapi.json",
        # their pages load scripts from other hosts
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service, app.state.held_out = service, held_out
    # the guard checks the token; this documents it
    token = [Depends(HTTPBearer(auto_error=False, description="the server's token"))]
    app.include_router(readers, dependencies=[] if access.is_loopback else token)
    app.include_router(writers, dependencies=token)
    _add_page(app)
    _add_refusals(app)
    app.add_middleware(Guard, access=access, limits=service.limits)
    return app


def _add_page(app: FastAPI) -> None:
    scripts = {f"/{name}": (name, "text/javascript; charset=utf-8") for name in SCRIPTS}
    folder = resources.files(__package__) / "page"
    for path, (name, kind) in {**PAGE, **scripts}.items():
        content = (folder / name).read_bytes()
        app.add_api_route(path, _constant(content, kind), include_in_schema=False)


def _constant(content: bytes, kind: str) -> Callable[[], Response]:
    # the response carries no state of a request
    def answer() -> Response:
        return Response(content, headers={"content-type": kind})

    return answer


def _add_refusals(app: FastAPI) -> None:
    """Answer every refused request by one sentence."""

    @app.exception_handler(UserError)
    def refused(request: Request, error: UserError) -> JSONResponse:
        status = error.status if isinstance(error, RefusedError) else 422
        return _problem(status, str(error), {"retry-after": "1"} if status == 503 else {})

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return _problem(422, f"'{place}' is not as it should be: {first['msg']}")

    @app.exception_handler(HTTPException)
    def unserved(request: Request, error: HTTPException) -> JSONResponse:
        sentence, headers = str(error.detail), dict(error.headers or {})
        if error.status_code == 404:
            sentence = "there is nothing at this address; /api/openapi.json lists what there is"
        if error.status_code == 405:
            sentence = f"{request.method} is not possible here; see /api/openapi.json"
            # a path may have two routes, and the library names the methods of one
            if kinds := app.openapi()["paths"].get(request.url.path):
                headers = {"allow": ", ".join(sorted(kind.upper() for kind in kinds))}
        return _problem(error.status_code, sentence, headers)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> JSONResponse:
        return _problem(500, "the server failed at this request; its output says why")


def _problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    # a name in it may hold what UTF-8 cannot
    plain = sentence.encode("utf-8", "replace").decode("utf-8")
    return JSONResponse({"error": plain}, status, headers=headers)
