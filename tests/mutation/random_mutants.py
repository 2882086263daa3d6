"""Random small changes to the modules that decide without I/O; the tests must notice them.

``python tests/mutation/random_mutants.py --minutes 10`` samples changes by seed and prints those
that no test noticed. An operator is changed, a condition negated, a number changed, or a statement
removed. Each module is tested by the files in `MODULES`, not by the whole suite.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import ast
import copy
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mutation_workspace import ROOT, Workspace

_RESILIENCE = "tests/resilience"
MODULES = {
    "_http/backoff.py": [f"{_RESILIENCE}/test_properties.py", f"{_RESILIENCE}/test_throttling.py"],
    "_http/codec.py": [
        "tests/test_request.py",
        "tests/test_redaction.py",
        "tests/test_gateway_statuses.py",
        "tests/test_identity.py",
        f"{_RESILIENCE}/test_retrying.py",
        f"{_RESILIENCE}/test_properties.py",
        "tests/endpoints",
    ],
    "_http/identity.py": ["tests/test_identity.py", "tests/batch/test_batch_identity.py"],
    "_http/rate_limiter.py": [
        f"{_RESILIENCE}/test_throttling.py",
        f"{_RESILIENCE}/test_isolated_rejections.py",
        f"{_RESILIENCE}/test_pacing.py",
        "tests/observability",
    ],
    "_http/retry.py": [
        f"{_RESILIENCE}/test_retrying.py",
        f"{_RESILIENCE}/test_properties.py",
        f"{_RESILIENCE}/test_bounds.py",
        f"{_RESILIENCE}/test_reconciliation.py",
        f"{_RESILIENCE}/test_outages.py",
        "tests/test_identity.py",
        "tests/test_observing.py",
        "tests/test_captured_responses.py",
        "tests/observability",
        f"{_RESILIENCE}/test_token_source.py",
    ],
    "_http/retry_budget.py": [f"{_RESILIENCE}/test_bounds.py", f"{_RESILIENCE}/test_outages.py"],
    "_http/retry_decisions.py": [
        f"{_RESILIENCE}/test_retrying.py",
        f"{_RESILIENCE}/test_properties.py",
        "tests/batching",
    ],
    "_http/semaphore.py": [f"{_RESILIENCE}/test_bounds.py", f"{_RESILIENCE}/test_ending.py"],
    "_bulk/chunk_result.py": ["tests/batch"],
    "_bulk/key_pool.py": ["tests/test_idempotency.py"],
    "_bulk/queue.py": ["tests/batch"],
    "_bulk/rows.py": ["tests/batch"],
    "idempotency.py": ["tests/test_idempotency.py", "tests/distributed/test_partition.py"],
}
_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
_SLOWEST = 120.0  # seconds; a mutant may loop forever


def mutants_of(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the description and the source of each change to a module."""
    tree = ast.parse(source)
    for number, node in enumerate(ast.walk(tree)):
        for change in _changes(node):
            changed = copy.deepcopy(tree)
            target = next(n for i, n in enumerate(ast.walk(changed)) if i == number)
            description = change(target)
            ast.fix_missing_locations(changed)
            yield getattr(node, "lineno", 0), description, ast.unparse(changed)


def _changes(node: ast.AST) -> Iterator[object]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPPED:
        yield _swap_comparison
    elif isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in _SWAPPED:
        yield _swap_operator
    elif isinstance(node, (ast.If, ast.IfExp)) and not isinstance(node.test, ast.Compare):
        yield _negate
    elif isinstance(node, ast.Constant) and type(node.value) in {int, float, bool}:
        yield _change_constant
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If):
        for place, statement in enumerate(node.body):
            if isinstance(statement, (ast.Assign, ast.AugAssign, ast.Expr)) and not isinstance(
                getattr(statement, "value", None), ast.Constant
            ):
                yield lambda target, place=place: _remove(target, place)


def _swap_comparison(node: ast.Compare) -> str:
    before = ast.unparse(node)
    node.ops[0] = _SWAPPED[type(node.ops[0])]()
    return f"{before} -> {ast.unparse(node)}"


def _swap_operator(node: ast.BinOp) -> str:
    before = ast.unparse(node)
    node.op = _SWAPPED[type(node.op)]()
    return f"{before} -> {ast.unparse(node)}"


def _negate(node: ast.If) -> str:
    before = ast.unparse(node.test)
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return f"if {before} -> if not"


def _change_constant(node: ast.Constant) -> str:
    before = node.value
    node.value = not before if isinstance(before, bool) else before + 1
    return f"{before} -> {node.value}"


def _remove(node: ast.FunctionDef, place: int) -> str:
    before = ast.unparse(node.body[place])
    node.body[place] = ast.Pass()
    return f"removed: {before}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0, help="time limit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--module", choices=tuple(MODULES), help="only this one")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    waiting = []
    for module in [arguments.module] if arguments.module else MODULES:
        source = (ROOT / "prefactor_http" / module).read_text(encoding="utf-8")
        waiting += [(module, *mutant) for mutant in mutants_of(source)]
    rng.shuffle(waiting)
    ended = time.monotonic() + 60 * arguments.minutes
    survivors, tried = [], 0
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        for module, line, description, mutated in waiting:
            if time.monotonic() > ended:
                break
            path = workspace.path / "prefactor_http" / module
            original = path.read_text(encoding="utf-8")
            path.write_text(mutated, encoding="utf-8")
            tried += 1
            if not _is_noticed(workspace, MODULES[module]):
                survivors.append((module, line, description))
                print(f"ALIVE  {module}:{line}  {description}", flush=True)
            path.write_text(original, encoding="utf-8")
    print(f"{tried - len(survivors)} of {tried} noticed; {len(waiting)} are possible")
    return 0


def _is_noticed(workspace: Workspace, tests: list[str]) -> bool:
    try:
        return workspace.first_failure(*tests, seconds=_SLOWEST) is not None
    except (RuntimeError, subprocess.TimeoutExpired):  # it cannot be imported, or it loops
        return True


if __name__ == "__main__":
    sys.exit(main())
