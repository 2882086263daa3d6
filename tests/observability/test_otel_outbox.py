"""The counters of an outbox as metrics."""

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from prefactor_http import HttpClientConfig, PrefactorHttpClient
from prefactor_http.otel import PrefactorHttpInstrumentor
from prefactor_http.outbox import Outbox
from prefactor_http.testing import LocalPrefactor

VERSIONS = ({"external_identifier": "v1"}, {"external_identifier": "s1", "span_type_schemas": []})


@pytest.fixture
def reader():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    instrumentor = PrefactorHttpInstrumentor()
    instrumentor.instrument(meter_provider=provider)
    yield reader
    instrumentor.uninstrument()
    provider.shutdown()


def read(reader):
    """Give the values of the metrics of outboxes, and their files."""
    data = reader.get_metrics_data()
    return {
        metric.name.removeprefix("prefactor.outbox."): {
            point.attributes["prefactor.outbox.file"]: point.value
            for point in metric.data.data_points
        }
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name.startswith("prefactor.outbox.")
    }


async def test_the_counters_of_an_open_outbox_are_metrics(reader, tmp_path):
    path = tmp_path / "outbox.db"
    async with (
        LocalPrefactor() as api,
        PrefactorHttpClient(HttpClientConfig(api.url, api.token)) as client,
    ):
        async with Outbox(path, client) as outbox:
            registered = await outbox.agent_instances.register(
                api.agent_id, *VERSIONS, environment_id=api.environment_id
            )
            await outbox.agent_instances.start(registered.id)
            assert await outbox.flush(10)
            api.set_token_active(api.token, active=False)
            await outbox.agent_instances.finish(registered.id)
            metrics = read(reader)
            assert {name: values["outbox.db"] > 0 for name, values in metrics.items()} == {
                "pending": True,
                "bytes": True,
                "oldest_age": True,
                "delivered": True,
                "dead": False,
                "dropped": False,
            }
            assert (metrics["pending"], metrics["delivered"]) == (
                {"outbox.db": 1},
                {"outbox.db": 2},
            )
            api.set_token_active(api.token, active=True)
            assert await outbox.flush(10)
            assert read(reader)["oldest_age"] == {"outbox.db": 0}
            PrefactorHttpInstrumentor().uninstrument()
            assert read(reader) == {}
            PrefactorHttpInstrumentor().instrument()
        assert read(reader) == {}


async def test_an_outbox_that_is_closed_is_not_read(reader, tmp_path):
    config = HttpClientConfig("http://127.0.0.1:1", "token-that-is-not-used")
    async with PrefactorHttpClient(config) as client, Outbox(tmp_path / "a.db", client):
        assert read(reader)["pending"] == {"a.db": 0}
    assert read(reader) == {}


async def test_a_file_that_cannot_be_read_is_left_out(reader, tmp_path):
    config = HttpClientConfig("http://127.0.0.1:1", "token-that-is-not-used")
    async with PrefactorHttpClient(config) as client, Outbox(tmp_path / "a.db", client):
        (tmp_path / "a.db").rename(tmp_path / "b.db")
        assert read(reader) == {}
        (tmp_path / "b.db").rename(tmp_path / "a.db")
