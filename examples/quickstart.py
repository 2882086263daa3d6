"""Records one run of an agent, with one span.

Run it against a local API: start ``prefactor-http serve``, set the variables that it prints, then

    python examples/quickstart.py
"""

import asyncio
import os

from prefactor_http import HttpClientConfig, PrefactorHttpClient, RegisterDict

AGENT: RegisterDict = {
    # With a deployment token, leave out agent_id and environment_id.
    "agent_id": os.environ["PREFACTOR_AGENT_ID"],
    "environment_id": os.environ["PREFACTOR_ENVIRONMENT_ID"],
    "agent_version": {"external_identifier": "v1.4.0", "name": "Support triage"},
    "agent_schema_version": {
        "external_identifier": "triage-spans-3",
        "span_type_schemas": [
            {
                "name": "llm_call",
                "params_schema": {
                    "type": "object",
                    "properties": {"model": {"type": "string"}, "prompt": {"type": "string"}},
                },
            },
        ],
    },
}


async def main() -> None:
    """Record one run of the agent, with one span."""
    config = HttpClientConfig.from_env()  # PREFACTOR_API_URL, PREFACTOR_API_TOKEN
    async with PrefactorHttpClient(config) as client:
        async with client.agent_instances.run(**AGENT) as run:
            async with run.span("llm_call", {"model": "small", "prompt": "Urgent?"}) as call:
                call.result_payload = {"answer": "no"}  # … what the model said …
        print(run.id, run.instance.status, run.instance.finished_at)


asyncio.run(main())
