"""The tables of the manual are complete, and agree with the code."""

import ast
import dataclasses
import inspect
import re
from functools import cached_property

import pytest
from doc_pages import ROOT

import prefactor_http
from prefactor_http import HttpClientConfig, PrefactorHttpClient, _api, endpoints
from prefactor_http._bulk.operation import REGISTER_MANY, STREAM
from prefactor_http._bulk.options import BatchOptions, StreamOptions
from prefactor_http._http.operation import PREFIX, Operation
from prefactor_http.config import Options

ROOT_ERROR = "PrefactorHttpError"


def page(name):
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def rows(name, first_column):
    """Return the cells of the table whose first column has this heading."""
    table = re.search(rf"^\| {first_column} \|.*\n\|---.*\n((?:\|.*\n)+)", page(name), re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table[1].splitlines()]


def surface():
    for cells in rows("calls", "Call"):
        call, request, bulk, notes = (cell.strip("`") for cell in cells)
        yield call, request, bulk, notes


def operations():
    for value in [*vars(_api).values(), STREAM, REGISTER_MANY]:
        if isinstance(value, Operation):
            yield f"{value.method} {value.path.removeprefix(PREFIX)}", value


def test_the_table_of_calls_has_every_operation_of_the_api():
    documented = {request: bulk for _, request, bulk, _ in surface() if "/" in request}
    assert documented == {request: each.bulk or "none" for request, each in operations()}


def test_the_table_of_calls_names_each_operation_as_attempts_do():
    names: dict[str, set[str]] = {}
    for request, each in operations():
        names.setdefault(request, set()).add(each.name)
    for call, request, _, notes in surface():
        known = names.get(request, {call})
        assert call in known or any(f"`{name}`" in notes for name in known)


def test_the_table_of_calls_has_every_method_of_every_endpoint():
    client = PrefactorHttpClient(HttpClientConfig("https://api.example", "token"))
    resources = [
        name
        for name, each in vars(PrefactorHttpClient).items()
        if isinstance(each, cached_property)
    ]
    assert len(resources) == len(endpoints.__all__)
    calls = [
        f"{resource}.{name}"
        for resource in resources
        for name, _ in inspect.getmembers(getattr(client, resource), inspect.ismethod)
        if not name.startswith("_")
    ]
    documented = [call for call, _, _, _ in surface() if call != "none"]
    assert sorted(documented) == sorted([*calls, "validate_token", "request"])


def test_the_table_of_calls_marks_verified_outcomes_pages_control_signals_and_missing_keys():
    without_key = {each.name for _, each in operations() if not each.repeatable}
    verified = {each.name for _, each in operations() if each.reconciliation is not None}
    for call, _, _, notes in surface():
        resource, _, name = call.partition(".")
        has_signal = resource == "agent_spans" and name in {"create", "finish"}
        assert ("Verified after a lost response" in notes) == (call in verified)
        assert ("Control signal" in notes) == has_signal
        assert notes.startswith("No key") == (call in without_key)
        assert notes.startswith("A page.") == name.startswith("list")


def test_the_configuration_table_has_every_field_with_its_default():
    documented = {}
    for field, default, _, _ in rows("configuration", "Field"):
        text = default.strip("`")
        documented[field.strip("`")] = (
            dataclasses.MISSING if text == "required" else ast.literal_eval(text)
        )
    made = HttpClientConfig("http://localhost", "token")
    assert documented == {
        field.name: dataclasses.MISSING
        if field.default is field.default_factory
        else getattr(made, field.name)
        for field in dataclasses.fields(HttpClientConfig)
    }


def test_the_configuration_table_marks_the_fields_that_with_options_can_change():
    marked = {row[0].strip("`") for row in rows("configuration", "Field") if row[3] == "yes"}
    assert marked == Options.__annotations__.keys()


def test_the_table_of_options_has_every_stream_option_with_its_default():
    documented = {
        option.strip("`"): ast.literal_eval(default.strip("`"))
        for option, default, _ in rows("many-rows", "Option")
    }
    defaults = BatchOptions()
    assert documented == {name: getattr(defaults, name) for name in BatchOptions.__struct_fields__}
    assert documented.keys() == StreamOptions.__annotations__.keys() - {"patience"}


def test_the_error_tree_has_every_public_error_below_its_base():
    documented = {}
    bases = {0: ROOT_ERROR}
    for branch, name in re.findall(r"^([│ ]*[├└]── )(\w+)", page("errors"), re.MULTILINE):
        depth = len(branch) // 4
        documented[name] = bases[depth - 1]
        bases[depth] = name
    public = [getattr(prefactor_http, name) for name in prefactor_http.__all__]
    errors = [each for each in public if inspect.isclass(each) and issubclass(each, Exception)]
    assert documented == {
        error.__name__: error.__bases__[0].__name__
        for error in errors
        if error.__name__ != ROOT_ERROR
    }


@pytest.mark.parametrize("name", endpoints.__all__)
def test_the_docstring_of_a_call_has_its_http_call_arguments_result_and_errors(name):
    for method, function in vars(getattr(endpoints, name)).items():
        if method.startswith("_") or not inspect.isfunction(function):
            continue
        signature, docstring = inspect.signature(function), function.__doc__
        assert re.search(r"``(GET|POST|PUT|DELETE) /", docstring), method
        assert "Args:" in docstring or len(signature.parameters) == 1, method
        assert "Returns:" in docstring or signature.return_annotation == "None", method
        assert "Raises:" in docstring, method
