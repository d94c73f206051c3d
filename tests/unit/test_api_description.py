"""The API's description: complete in itself, its examples as its own shapes say, and in words."""

from collections.abc import Iterator
from typing import Any

import pytest

from mutt.api_words import operations
from scripts.devtools.api_reference import reference
from services.web_ui.app import api
from tests.service.web_contract import check

DOCUMENT = api().openapi()
OPERATIONS = {
    f"{method.upper()} {path}": told for path, methods in DOCUMENT["paths"].items() for method, told in methods.items()
}
each_operation = pytest.mark.parametrize("told", OPERATIONS.values(), ids=list(OPERATIONS))


def contents(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each reply that is promised with one of its types."""
    for status, response in told["responses"].items():
        if status != "default":
            yield status, next((each for each in response["content"].values() if "example" in each), {})


@each_operation
def test_each_reply_has_an_example_that_is_as_its_shape_says(told: dict[str, Any]) -> None:
    for status, content in contents(told):
        assert "example" in content, f"{status}: record them anew with RECORD_API_EXAMPLES=1, see CONTRIBUTING.md"
        check(DOCUMENT, content["schema"], content["example"], status)


@each_operation
def test_each_body_has_an_example_that_is_as_its_shape_says(told: dict[str, Any]) -> None:
    if "requestBody" in told:
        content = next(each for each in told["requestBody"]["content"].values() if "example" in each)
        check(DOCUMENT, content["schema"], content["example"], "the body")


@each_operation
def test_each_parameter_and_member_says_what_it_means(told: dict[str, Any]) -> None:
    for each in told.get("parameters", ()):
        assert each.get("description"), each["name"]
        assert each["in"] != "path" or "example" in each, each["name"]
    for content in told.get("requestBody", {}).get("content", {}).values():
        for name, member in content["schema"].get("properties", {}).items():
            assert "description" in member, name


def test_each_operation_names_the_role_and_the_ways_to_prove_it() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {(each["in"], each["name"]) for each in schemes.values()} == {
        ("header", "X-API-KEY"),
        ("cookie", "mutt_session"),
        ("header", "X-CSRF-Token"),
    }
    for name, told in OPERATIONS.items():
        key, session = told["security"]
        assert set(key) == {"APIKeyHeader"}
        assert ("csrf" in session) != name.startswith("GET "), name
        assert told["x-role"] in {"viewer", "operator", "editor", "admin"}
    names = [told["operationId"] for told in OPERATIONS.values()]
    assert len(set(names)) == len(names)


def test_the_page_holds_each_operation_with_its_examples() -> None:
    page = reference(DOCUMENT, "")
    for told in operations(DOCUMENT).values():
        for operation in told:
            assert f"### {operation.method} {operation.path}\n" in page
            assert not operation.example or operation.example in page
            assert "422" not in [reply.status for reply in operation.replies]
