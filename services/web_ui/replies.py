"""How the API says no: one shape, the right status, words that tell what would be right."""

from collections.abc import Callable, Mapping

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError, ResponseError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from mutt.errors import RuleError
from services.logging_utils import get_logger

RETRY_AFTER = {"Retry-After": "5"}
API = "/api/"
# POST requests that change nothing; the last word of their paths, below /rules.
READING = ("/rules/validate", "/rules/explain", "/rules/dry-run")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

log = get_logger(__name__)


class ApiError(Exception):
    """A reply that is not 2xx; `details` maps fields to what is wrong with them, `more` are further members."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.details = details
        self.headers = headers
        self.more = more
        super().__init__(message)


def refuse(  # noqa: PLR0917  (what a reply holds)
    request: Request,
    status: int,
    message: str,
    details: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> Response:
    """Return an error's reply: `{"error", "correlation_id"[, "details"]}`, or a page where a page was asked for."""
    page: Callable[..., Response] | None = getattr(request.app.state, "error_page", None)
    if page is not None and not request.url.path.startswith(API):
        return page(request, status, message, details, headers)
    body: dict[str, object] = {"error": message, "correlation_id": request.state.correlation_id}
    if details:
        body["details"] = dict(details)
    return JSONResponse({**body, **(more or {})}, status, dict(headers or {}))


def install(app: FastAPI) -> None:
    """Let the app answer every error in the API's shape."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RuleError, _invalid)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(PoolTimeout, _database_away)
    app.add_exception_handler(psycopg.OperationalError, _database_away)
    app.add_exception_handler(psycopg.InterfaceError, _database_away)
    app.add_exception_handler(psycopg.errors.UndefinedTable, _no_schema)
    app.add_exception_handler(psycopg.errors.UndefinedColumn, _no_schema)
    app.add_exception_handler(psycopg.errors.CheckViolation, _refused_by_database)
    app.add_exception_handler(psycopg.DataError, _refused_by_database)
    app.add_exception_handler(psycopg.errors.ReadOnlySqlTransaction, _database_refuses)
    app.add_exception_handler(psycopg.errors.InsufficientPrivilege, _database_refuses)
    app.add_exception_handler(ResponseError, _redis_refuses)
    app.add_exception_handler(RedisError, _redis_away)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failed)


async def _api_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return refuse(request, error.status, error.message, error.details, error.headers, error.more)


async def _invalid(request: Request, error: Exception) -> Response:
    details = error.details if isinstance(error, RuleError) else {}
    return refuse(request, 400, "the values are not valid: " + str(error), details)


async def _parameters(request: Request, error: Exception) -> Response:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    details = {str(fault["loc"][-1]): str(fault["msg"]) for fault in faults}
    named = "; ".join(f"{name}: {problem}" for name, problem in details.items())
    return refuse(request, 400, f"the request's parameters are not valid: {named}", details)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    said = {
        404: f"there is nothing at {request.url.path}; /api/v2/openapi.json lists what there is",
        405: f"{request.method} is not possible here; see the header Allow",
    }
    return refuse(request, error.status_code, said.get(error.status_code, str(error.detail)), headers=error.headers)


async def _database_away(request: Request, error: Exception) -> Response:
    log.warning("PostgreSQL does not answer", error=f"{type(error).__name__}: {str(error).strip()}")
    message = "PostgreSQL does not answer; see /health, and try again"
    if request.method not in SAFE_METHODS and not request.url.path.endswith(READING):
        message += ". Whether the change was made is not known: read the entry before you repeat it"
    return refuse(request, 503, message, headers=RETRY_AFTER)


async def _database_refuses(request: Request, error: Exception) -> Response:
    log.error("PostgreSQL does not let this service do its work", error=str(error).strip())
    words = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    message = f"PostgreSQL lets nothing be done here ({words or error}): is DB_HOST the primary, and may DB_USER write?"
    return refuse(request, 503, message, headers=RETRY_AFTER)


async def _no_schema(request: Request, error: Exception) -> Response:
    log.error("the database lacks MUTT's schema", error=str(error).strip())
    return refuse(request, 503, "the database lacks MUTT's schema or an update of it: run scripts/migrate.py")


async def _refused_by_database(request: Request, error: Exception) -> Response:
    name = error.diag.constraint_name if isinstance(error, psycopg.Error) else None
    return refuse(request, 400, f"PostgreSQL refuses the values: {f'constraint {name}' if name else error}")


async def _redis_refuses(request: Request, error: Exception) -> Response:
    log.error("Redis does not let this service do its work", error=str(error))
    return refuse(request, 503, f"Redis lets nothing be done here ({error}); see /health", headers=RETRY_AFTER)


async def _redis_away(request: Request, error: Exception) -> Response:
    log.warning("Redis does not answer", error=f"{type(error).__name__}: {error}")
    return refuse(request, 503, "Redis does not answer; see /health, and try again", headers=RETRY_AFTER)


async def _gone(request: Request, _error: Exception) -> Response:
    # Nobody reads this; it keeps a sender that hangs up from being logged as our failure.
    return refuse(request, 400, "the connection was closed before the body was there")


async def _failed(request: Request, _error: Exception) -> Response:
    return refuse(request, 500, "something went wrong here; the log has it")
