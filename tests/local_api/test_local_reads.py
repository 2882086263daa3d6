"""Lists, pagination and the other resources of the local API (contract §2, §4, §12)."""

import pytest

from prefactor_http import _pfid


async def test_environments_can_be_created_updated_and_read(api, caller):
    body = {"details": {"account_id": api.account_id, "name": "Staging", "purpose": "staging"}}
    environment = (await caller.post("/environment", body)).details
    path = f"/environment/{environment['id']}"
    assert (await caller.get(path)).details == environment
    changes = {"name": "Stage", "purpose": "production", "description": "late"}
    changed = (await caller.send("PUT", path, json={"details": changes})).details
    assert {name: changed[name] for name in changes} == changes
    assert (await caller.send("PUT", path, json={"details": {}})).details["name"] == "Stage"
    assert (await caller.send("PUT", path, json={"details": {"purpose": None}})).status == 422
    listed = await caller.get("/environment", params={"account_id": api.account_id})
    assert [row["id"] for row in listed.json["summaries"]] == [
        *(api.environment_id, environment["id"])
    ]


async def test_an_environment_requires_an_existing_account_and_a_name(api, caller):
    assert (await caller.post("/environment", {"details": {"name": "x"}})).status == 422
    body = {"details": {"account_id": "another", "name": "x"}}
    assert (await caller.post("/environment", body)).status == 404
    assert (
        await caller.post("/environment", {"details": {"account_id": api.account_id}})
    ).status == (422)


@pytest.mark.parametrize(
    "group", ["account", "agent_deployment", "agent_version", "agent_schema_version"]
)
async def test_every_listed_resource_can_be_read_by_id(caller, group):
    await caller.register()
    listed = (await caller.get(f"/{group}")).json["summaries"]
    assert len(listed) == 1
    assert listed[0]["type"] == group
    assert (await caller.get(f"/{group}/{listed[0]['id']}")).details == listed[0]
    assert (await caller.get(f"/{group}/nothing")).status == 404


async def test_versions_and_deployments_can_be_filtered_by_agent(api, caller):
    await caller.register()
    for group in ("agent_version", "agent_schema_version", "agent_deployment"):
        mine = await caller.get(f"/{group}", params={"agent_id": api.agent_id})
        others = await caller.get(f"/{group}", params={"agent_id": "another"})
        assert len(mine.json["summaries"]) == 1
        assert others.json["summaries"] == []


async def test_ids_are_generated_in_the_partition_of_the_account(api, caller):
    response = await caller.post("/pfid/generate", {"count": 100, "account_id": api.account_id})
    pfids = response.details["pfids"]
    assert len(set(pfids)) == 100
    assert pfids == sorted(pfids)
    assert {_pfid.partition_of(pfid) for pfid in pfids} == {_pfid.partition_of(api.account_id)}
    assert (await caller.post("/pfid/generate", {"count": 101})).status == 422
    assert (await caller.post("/pfid/generate", {"account_id": "another"})).status == 422


async def page(caller, **query):
    return await caller.get("/agent_instance", params=query)


def offset_and_size(offset, size):
    return {"pagination[offset]": str(offset), "pagination[page_size]": str(size)}


async def test_following_next_page_offset_reads_the_whole_list(api, caller):
    made = [await caller.instance() for _ in range(5)]
    seen, offset = [], 0
    while offset is not None:
        response = (await page(caller, **offset_and_size(offset, 2))).json
        seen += [row["id"] for row in response["summaries"]]
        offset = response["pagination"]["next_page_offset"]
    assert seen == made == sorted(made)
    last = response["pagination"]
    assert last == {
        "item_count": 5,
        "item_start": 5,
        "item_end": 5,
        "page_count": 3,
        "page_index": 3,
        "page_offset": 4,
        "page_size": 2,
        "next_page_offset": None,
        "previous_page_offset": 2,
    }
    first = (await page(caller, **offset_and_size(0, 2))).json["pagination"]
    assert (first["next_page_offset"], first["previous_page_offset"]) == (2, None)
    beyond = (await page(caller, **offset_and_size(10, 2))).json["pagination"]
    assert (beyond["item_start"], beyond["item_end"]) == (0, 0)


@pytest.mark.parametrize(
    "query",
    [
        {"pagination[page_size]": "0"},
        {"pagination[page_size]": "101"},
        {"pagination[offset]": "-1"},
        {"pagination[offset]": "x"},
        {"pagination": "all"},
        {"sorting": "purpose"},
        {"sorting[field]": "purpose"},
        {"sorting[direction]": "asc"},
        {"sorting[field]": "id", "sorting[direction]": "up"},
    ],
)
async def test_invalid_pagination_or_sorting_is_refused(caller, query):
    assert (await page(caller, **query)).status == 422


async def test_both_forms_of_sorting_are_supported(caller):
    made = [await caller.instance(state) for state in ("active", "complete", "pending")]
    for query in (
        {"sorting": "-id"},
        {"sorting[field]": "id", "sorting[direction]": "desc"},
    ):
        response = (await page(caller, **query)).json
        assert [row["id"] for row in response["summaries"]] == made[::-1]
        assert response["sorting"] == {"field": "id", "direction": "desc"}
    by_start = (await page(caller, sorting="started_at")).json["summaries"]
    assert [row["status"] for row in by_start] == ["pending", "active", "complete"]
    by_status = (await page(caller, **{"sorting[field]": "status"})).json["summaries"]
    assert [row["status"] for row in by_status] == ["active", "complete", "pending"]


async def test_the_plain_sorting_form_takes_precedence_over_brackets(caller):
    response = await caller.get("/agent_instance?sorting=id&sorting[field]=status")
    assert response.json["sorting"]["field"] == "id"


async def test_instances_can_be_filtered_by_agent_and_version_and_are_summaries(api, caller):
    instance_id = await caller.instance()
    version_id = api.instances[instance_id]["agent_version_id"]
    found = (await page(caller, agent_id=api.agent_id, agent_version_id=version_id)).json
    assert [row["id"] for row in found["summaries"]] == [instance_id]
    assert "span_counts" not in found["summaries"][0]
    assert (await page(caller, agent_version_id="another")).json["summaries"] == []


async def test_the_default_page_size_is_fifty(caller):
    await caller.bulk(*[caller.item() for _ in range(51)])
    response = (await page(caller)).json
    assert len(response["summaries"]) == response["pagination"]["page_size"] == 50
    assert (await page(caller, other="[x")).status == 200


async def test_a_key_on_a_get_is_accepted_and_recorded_as_a_violation(api, caller):
    assert (await page(caller, idempotency_key="some-key")).status == 200
    assert api.violations == ["GET /api/v1/agent_instance carries a key or body"]
