"""The command and the library derive the same key from the same row."""

import asyncio
import json

import pytest
from rows_support import SCHEMA, VERSION, last_words, lines, write

from prefactor_http import HttpClientConfig, PrefactorHttpClient

ROWS = [
    {"external_identifier": " n-0\t"},
    {"purpose": "live", "update_current_version": True, "id": None},
    {"external_identifier": " ", "agent_version": {"name": "b", "external_identifier": "a"}},
    {},
]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_file_registered_by_the_command_is_registered_for_the_library(
    api, run, shared, tmp_path, out, is_reversed
):
    rows = [dict(reversed(row.items())) if is_reversed else row for row in ROWS]
    path = write(tmp_path, "rows.jsonl", lines(*rows))
    result = run("register", path, *shared, "--job", "j", "--out", str(out))
    assert result.exit_code == 0, result.output
    instances = set(api.instances)

    async def register_again():
        async with PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client:
            outcomes = client.agent_instances.register_many(
                json.loads(json.dumps(ROWS)),
                job="j",
                ordered=True,
                agent_id=api.agent_id,
                environment_id=api.environment_id,
                agent_version=VERSION,
                agent_schema_version=SCHEMA,
            )
            return [outcome async for outcome in outcomes]

    outcomes = asyncio.run(register_again())
    words = last_words(out)
    assert [outcome.idempotency_key for outcome in outcomes] == [
        words[index]["idempotency_key"] for index in range(len(ROWS))
    ]
    assert [outcome.state.value for outcome in outcomes] == ["ok"] * len(ROWS)
    assert set(api.instances) == instances


def test_an_id_that_is_no_text_is_named_with_its_line(api, run, shared, tmp_path):
    path = write(tmp_path, "rows.jsonl", lines({"external_identifier": 1}, {"id": True}))
    result = run("register", path, *shared, "--job", "j")
    assert result.exit_code == 1
    assert "external_identifier must be a str, not int" in result.stderr
    assert "id must be a str, not bool" in result.stderr
    assert api.instances == {}
