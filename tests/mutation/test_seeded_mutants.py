"""The tests can fail: mistakes of the client are detected by the tests that name them."""

import ast
from pathlib import Path

import pytest
from mutation_workspace import ROOT, Workspace
from seeded_mutants import MUTANTS

PACKAGE = ROOT / "prefactor_http"
SAMPLES = [mutant for mutant in MUTANTS if mutant.is_sample]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_the_code_and_names_a_test(mutant):
    path = PACKAGE / mutant.file
    ast.parse(mutant.mutated(path.read_text(encoding="utf-8")))
    file, *_, name = mutant.test.split("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8")


def test_a_mutant_that_no_longer_fits_is_reported():
    with pytest.raises(ValueError, match="0 times in"):
        MUTANTS[0].mutated("")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("mutant"))


@pytest.mark.parametrize("mutant", SAMPLES, ids=lambda mutant: mutant.name)
def test_a_mutant_is_detected(mutant, workspace):
    path: Path = workspace.path / "prefactor_http" / mutant.file
    original = path.read_text(encoding="utf-8")
    mutant.apply(workspace)
    failed = workspace.first_failure(mutant.test)
    path.write_text(original, encoding="utf-8")
    assert failed is not None
    assert failed.startswith(mutant.test)
