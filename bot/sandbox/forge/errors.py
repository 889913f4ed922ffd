"""The refusals of the forge, in GitHub's words and shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DOCUMENTATION = "https://docs.github.com/rest"


class ApiError(Exception):
    """An error answer; it becomes GitHub's JSON body."""

    def __init__(self, status: int, message: str, *, errors: Sequence[object] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors

    def body(self) -> dict[str, Any]:
        errors = {"errors": list(self.errors)} if self.errors is not None else {}
        status = {} if self.status in (405, 409, 422) else {"status": str(self.status)}
        return {"message": self.message, **errors, "documentation_url": DOCUMENTATION, **status}


def not_found() -> ApiError:
    return ApiError(404, "Not Found")


def invalid(resource: str, *, field: str = "", code: str = "invalid", message: str = "") -> ApiError:
    """422 "Validation Failed" with one error, as GitHub lists them."""
    error = {"resource": resource, "code": code}
    if field:
        error["field"] = field
    if message:
        error["message"] = message
    return ApiError(422, "Validation Failed", errors=[error])


def unprocessable(message: str) -> ApiError:
    return ApiError(422, message)
