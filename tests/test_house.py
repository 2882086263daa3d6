"""Rules about the source code that import-linter cannot express."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import prefactor_http

ROOT = Path(prefactor_http.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TOP_LEVEL = "prefactor_http"

# Imports inside functions, each with its reason.
DEFERRED = {
    ("prefactor_http._http.retry", "tenacity"),  # start-up: most processes never retry
    ("prefactor_http.models._unknown_keys", "difflib"),  # start-up: most misspell no key
    # Start-up: most processes make no batches.
    ("prefactor_http.endpoints.agent_instance", "prefactor_http._bulk.item_encoder.row_encoder"),
    ("prefactor_http.endpoints.agent_instance", "prefactor_http._bulk.source.Source"),
    ("prefactor_http.endpoints.agent_instance", "prefactor_http._bulk.stream.OutcomeStream"),
    ("prefactor_http.endpoints.bulk", "prefactor_http._bulk.item_encoder.bulk_item_encoder"),
    ("prefactor_http.endpoints.bulk", "prefactor_http._bulk.source.Source"),
    ("prefactor_http.endpoints.bulk", "prefactor_http._bulk.stream.OutcomeStream"),
    ("prefactor_http.client", "prefactor_http._bulk.batching.batching"),
    ("prefactor_http.client", "prefactor_http._bulk.call.BatchBounds"),
    ("prefactor_http.cli.register.file_lock", "fcntl"),  # Windows has none
    ("prefactor_http.outbox.lock", "fcntl"),  # likewise
    # Without the extra, a word that names it instead of a traceback.
    ("prefactor_http.cli", "prefactor_http.cli.command.command"),
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "handler", "handlers"}
# Strict: whoever cuts one of these takes it off the list.
PUBLIC = {
    "ActionProfileDict",
    "AgentInstance",
    "AgentInstanceRecordQuality",
    "AgentInstanceSpanCounts",
    "AgentSchemaVersionDict",
    "AgentSchemaVersionForRegister",
    "AgentSpan",
    "AgentStatus",
    "AgentVersionDict",
    "AgentVersionForRegister",
    "ApiResponse",
    "Attempt",
    "BulkItem",
    "BulkOutput",
    "BulkRequest",
    "BulkResponse",
    "CapturedResponse",
    "DataCategoriesDict",
    "DataRiskDict",
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
    "QualitySchemaDict",
    "QualitySchemaForCreate",
    "RegisterDict",
    "RowDict",
    "RuntimeEnvironment",
    "RuntimeEnvironmentDict",
    "SpanTypeSchemaDict",
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


@cache
def all_imports():
    return {
        module: list(imports_in(ast.parse(path.read_text(encoding="utf-8"))))
        for module, path in MODULES.items()
    }


def importers_of(package):
    return {
        module
        for module, names in all_imports().items()
        if any(name == package or name.startswith(f"{package}.") for name, _ in names)
    }


def test_no_module_of_the_library_imports_from_the_top_of_the_package():
    # It would tie the module to all others.
    above = ("prefactor_http.cli", "prefactor_http.testing")
    for module in (module for module in MODULES if not module.startswith(above)):
        names = {name for name, _ in all_imports()[module]} - MODULES.keys()
        assert not {name for name in names if name.rpartition(".")[0] == TOP_LEVEL}, module


def test_of_aiohttp_the_exceptions_import_its_base_error_alone():
    names = [name for name, _ in all_imports()["prefactor_http.exceptions"]]
    assert [name for name in names if "aiohttp" in name] == ["aiohttp.ClientError"]


def test_only_the_command_imports_the_local_api():
    importers = importers_of("prefactor_http.testing")
    assert all(
        module.startswith(("prefactor_http.cli", "prefactor_http.testing")) for module in importers
    )


def test_functions_import_nothing_but_what_is_listed_with_its_reason():
    found = {
        (module, name) for module, names in all_imports().items() for name, late in names if late
    }
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


def test_the_package_itself_holds_imports_and_nothing_else():
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
        "prefactor_http._bulk.engine",
        "prefactor_http.testing",
    }
