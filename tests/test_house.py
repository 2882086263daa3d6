"""The walls of the house: who imports whom, how large a file may be, what is public."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import prefactor_http

ROOT = Path(prefactor_http.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TOP_LEVEL = "prefactor_http"

# Who may import what of aiohttp; testing/ is a server and may import all of it.
AIOHTTP = {
    "prefactor_http._connector": None,
    "prefactor_http._transport": None,
    "prefactor_http._transport_errors": None,
    "prefactor_http.exceptions": {"aiohttp.ClientError"},
}
# Imports inside functions, each with its reason.
DEFERRED = {
    ("prefactor_http._retry", "tenacity"),  # start-up: most processes never retry
    # Start-up: most processes make no batches.
    ("prefactor_http.endpoints.agent_instance_batch", "prefactor_http._batch_items.row_maker"),
    ("prefactor_http.endpoints.agent_instance_batch", "prefactor_http._batch_source.Source"),
    ("prefactor_http.endpoints.agent_instance_batch", "prefactor_http._batch_stream.OutcomeStream"),
    ("prefactor_http.endpoints.bulk", "prefactor_http._batch_items.item_maker"),
    ("prefactor_http.endpoints.bulk", "prefactor_http._batch_source.Source"),
    ("prefactor_http.endpoints.bulk", "prefactor_http._batch_stream.OutcomeStream"),
    ("prefactor_http.cli._file_lock", "fcntl"),  # Windows has none
    # Without the extra, a word that names it instead of a traceback.
    ("prefactor_http.cli", "prefactor_http.cli._command.command"),
}
IMPORTERS_OF_CLIENT = {"prefactor_http", "prefactor_http.batch"}
# What stands on the client.
ABOVE = ("prefactor_http.cli", "prefactor_http.testing")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "handler", "handlers"}
# Strict: whoever cuts one of these takes it off the list.
PUBLIC = {
    "AgentInstance",
    "AgentInstanceRecordQuality",
    "AgentInstanceSpanCounts",
    "AgentSchemaVersionForRegister",
    "AgentSpan",
    "AgentStatus",
    "AgentVersionForRegister",
    "ApiResponse",
    "Attempt",
    "BulkItem",
    "BulkOutput",
    "BulkRequest",
    "BulkResponse",
    "FinishInstanceRequest",
    "FinishStatus",
    "HttpClientConfig",
    "InstancePurpose",
    "Outcome",
    "PrefactorApiError",
    "PrefactorAuthError",
    "PrefactorClientError",
    "PrefactorConflictError",
    "PrefactorConnectionError",
    "PrefactorHttpClient",
    "PrefactorHttpError",
    "PrefactorNotFoundError",
    "PrefactorRateLimitError",
    "PrefactorResponseContractError",
    "PrefactorRetryExhaustedError",
    "PrefactorTimeoutError",
    "PrefactorValidationError",
    "QualitySchemaDetails",
    "QualitySchemaForCreate",
    "RuntimeEnvironment",
    "SpanTypeSchemaForCreate",
    "__version__",
}
OF_RELEASE_0_4_3 = {
    "AgentInstance",
    "AgentInstanceRecordQuality",
    "AgentInstanceSpanCounts",
    "AgentSchemaVersionForRegister",
    "AgentSpan",
    "AgentStatus",
    "AgentVersionForRegister",
    "ApiResponse",
    "BulkItem",
    "BulkOutput",
    "BulkRequest",
    "BulkResponse",
    "FinishInstanceRequest",
    "FinishStatus",
    "HttpClientConfig",
    "InstancePurpose",
    "PrefactorApiError",
    "PrefactorAuthError",
    "PrefactorClientError",
    "PrefactorHttpClient",
    "PrefactorHttpError",
    "PrefactorNotFoundError",
    "PrefactorResponseContractError",
    "PrefactorRetryExhaustedError",
    "PrefactorValidationError",
    "QualitySchemaDetails",
    "QualitySchemaForCreate",
    "RuntimeEnvironment",
    "SpanTypeSchemaForCreate",
    "__version__",
}


def module_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports_in(node, *, deferred=False):
    """Give each import that happens at run time: its full name, and whether a function makes it."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            for alternative in child.orelse:
                yield from imports_in(ast.Module([alternative], []), deferred=deferred)
        elif isinstance(child, ast.Import):
            yield from ((alias.name, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from ((f"{child.module}.{alias.name}", deferred) for alias in child.names)
        else:
            in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_in(child, deferred=deferred or in_function)


IMPORTS = {
    module: list(imports_in(ast.parse(path.read_text(encoding="utf-8"))))
    for module, path in MODULES.items()
}


def modules_imported_by(module, *, at_top_only=False):
    for name, deferred in IMPORTS[module]:
        if at_top_only and deferred:
            continue
        if name in MODULES:
            yield name
        elif name.rpartition(".")[0] in MODULES:
            yield name.rpartition(".")[0]


def importers_of(package):
    return {module for module, names in IMPORTS.items() if any(is_in(n, package) for n, _ in names)}


def is_in(name, package):
    return name == package or name.startswith(f"{package}.")


def outside(modules, *packages):
    return {module for module in modules if not any(is_in(module, package) for package in packages)}


def test_only_the_transport_imports_aiohttp_and_the_errors_its_base_error():
    importers = outside(importers_of("aiohttp"), "prefactor_http.testing")
    assert importers <= AIOHTTP.keys()
    for module in importers:
        allowed = AIOHTTP[module]
        names = {name for name, _ in IMPORTS[module] if is_in(name, "aiohttp")}
        assert allowed is None or names <= allowed, module


def test_only_the_retries_import_tenacity():
    assert importers_of("tenacity") == {"prefactor_http._retry"}


def test_only_the_command_imports_click_and_rich():
    importers = importers_of("click") | importers_of("rich")
    assert not outside(importers, "prefactor_http.cli")


def test_the_command_and_the_local_api_are_imported_by_nobody_else():
    assert not outside(importers_of("prefactor_http.cli"), "prefactor_http.cli")
    assert not outside(importers_of("prefactor_http.testing"), *ABOVE)


def test_the_client_is_imported_from_above_only():
    importers = {m for m in MODULES if "prefactor_http.client" in modules_imported_by(m)}
    assert outside(importers, *ABOVE) <= IMPORTERS_OF_CLIENT


def test_no_module_imports_from_the_front_door():
    # It would tie the module to all others.
    for module in outside(MODULES, *ABOVE):
        names = {name for name, _ in IMPORTS[module]} - MODULES.keys()
        assert not {name for name in names if name.rpartition(".")[0] == TOP_LEVEL}, module


def test_no_imports_go_round_in_circles():
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path, module])
        if module in done:
            return
        path.append(module)
        for imported in modules_imported_by(module):
            if imported != module:
                visit(imported)
        path.pop()
        done.add(module)

    for module in MODULES:
        visit(module)


def test_functions_import_nothing_but_what_is_listed_with_its_reason():
    found = {(module, name) for module, names in IMPORTS.items() for name, late in names if late}
    assert found == DEFERRED


@pytest.mark.parametrize("module", MODULES)
def test_a_files_name_is_its_subject(module):
    path = MODULES[module]
    assert not FORBIDDEN_NAMES & set(path.stem.lower().split("_"))


def test_the_public_names_are_these():
    assert set(prefactor_http.__all__) == PUBLIC
    assert sorted(prefactor_http.__all__) == prefactor_http.__all__
    for name in prefactor_http.__all__:
        assert getattr(prefactor_http, name) is not None


def test_no_public_name_of_release_0_4_3_is_lost():
    assert set(prefactor_http.__all__) >= OF_RELEASE_0_4_3


def test_the_front_door_holds_imports_and_nothing_else():
    body = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    docstring, *statements = body
    assert isinstance(docstring, ast.Expr)
    others = [s for s in statements if not isinstance(s, ast.ImportFrom)]
    assert [ast.unparse(s).split(" = ")[0] for s in others] == ["__all__"]


def run_python(code, cache):
    """Run code in a process of its own, which keeps bytecode as an installed package has it."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_importing_loads_only_what_a_process_without_failures_needs(tmp_path):
    code = "import sys, prefactor_http; print(*sys.modules)"
    loaded = set(run_python(code, tmp_path).stdout.split())
    assert "prefactor_http.client" in loaded
    assert not loaded & {
        "tenacity",
        "click",
        "rich",
        "aiohttp.web",
        "prefactor_http._batch_engine",
        "prefactor_http.testing",
    }
