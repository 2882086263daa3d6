"""What else a registering client reads, and lists as such (contract §2, §4, §12)."""

import pytest

from prefactor_http import _pfid


async def test_environments_are_created_changed_and_read(api, call):
    body = {"details": {"account_id": api.account_id, "name": "Staging", "purpose": "staging"}}
    environment = (await call.post("/environment", body)).details
    path = f"/environment/{environment['id']}"
    assert (await call.get(path)).details == environment
    changes = {"name": "Stage", "purpose": "production", "description": "late"}
    changed = (await call.send("PUT", path, json={"details": changes})).details
    assert {name: changed[name] for name in changes} == changes
    assert (await call.send("PUT", path, json={"details": {}})).details["name"] == "Stage"
    assert (await call.send("PUT", path, json={"details": {"purpose": None}})).status == 422
    listed = await call.get("/environment", params={"account_id": api.account_id})
    assert [row["id"] for row in listed.json["summaries"]] == [
        *(api.environment_id, environment["id"])
    ]


async def test_an_environment_needs_its_account_and_a_name(api, call):
    assert (await call.post("/environment", {"details": {"name": "x"}})).status == 422
    body = {"details": {"account_id": "another", "name": "x"}}
    assert (await call.post("/environment", body)).status == 404
    assert (
        await call.post("/environment", {"details": {"account_id": api.account_id}})
    ).status == (422)


@pytest.mark.parametrize(
    "group", ["account", "agent_deployment", "agent_version", "agent_schema_version"]
)
async def test_everything_that_is_listed_can_be_read(call, group):
    await call.register()
    listed = (await call.get(f"/{group}")).json["summaries"]
    assert len(listed) == 1
    assert listed[0]["type"] == group
    assert (await call.get(f"/{group}/{listed[0]['id']}")).details == listed[0]
    assert (await call.get(f"/{group}/nothing")).status == 404


async def test_versions_are_listed_by_agent(api, call):
    await call.register()
    for group in ("agent_version", "agent_schema_version", "agent_deployment"):
        mine = await call.get(f"/{group}", params={"agent_id": api.agent_id})
        others = await call.get(f"/{group}", params={"agent_id": "another"})
        assert len(mine.json["summaries"]) == 1
        assert others.json["summaries"] == []


async def test_ids_are_generated_in_the_accounts_partition(api, call):
    reply = await call.post("/pfid/generate", {"count": 100, "account_id": api.account_id})
    pfids = reply.details["pfids"]
    assert len(set(pfids)) == 100
    assert pfids == sorted(pfids)
    assert {_pfid.partition_of(pfid) for pfid in pfids} == {_pfid.partition_of(api.account_id)}
    assert (await call.post("/pfid/generate", {"count": 101})).status == 422
    assert (await call.post("/pfid/generate", {"account_id": "another"})).status == 422


async def page(call, **query):
    return await call.get("/agent_instance", params=query)


def offset_and_size(offset, size):
    return {"pagination[offset]": str(offset), "pagination[page_size]": str(size)}


async def test_pages_follow_the_offsets_that_the_api_names(api, call):
    made = [await call.instance() for _ in range(5)]
    seen, offset = [], 0
    while offset is not None:
        reply = (await page(call, **offset_and_size(offset, 2))).json
        seen += [row["id"] for row in reply["summaries"]]
        offset = reply["pagination"]["next_page_offset"]
    assert seen == made == sorted(made)
    last = reply["pagination"]
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
    first = (await page(call, **offset_and_size(0, 2))).json["pagination"]
    assert (first["next_page_offset"], first["previous_page_offset"]) == (2, None)
    beyond = (await page(call, **offset_and_size(10, 2))).json["pagination"]
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
async def test_a_wrong_page_or_order_is_refused(call, query):
    assert (await page(call, **query)).status == 422


async def test_both_forms_of_sorting_are_understood(call):
    made = [await call.instance(state) for state in ("active", "complete", "pending")]
    for query in (
        {"sorting": "-id"},
        {"sorting[field]": "id", "sorting[direction]": "desc"},
    ):
        reply = (await page(call, **query)).json
        assert [row["id"] for row in reply["summaries"]] == made[::-1]
        assert reply["sorting"] == {"field": "id", "direction": "desc"}
    by_start = (await page(call, sorting="started_at")).json["summaries"]
    assert [row["status"] for row in by_start] == ["pending", "active", "complete"]
    by_status = (await page(call, **{"sorting[field]": "status"})).json["summaries"]
    assert [row["status"] for row in by_status] == ["active", "complete", "pending"]


async def test_the_plain_form_wins_over_brackets_of_the_same_name(call):
    reply = await call.get("/agent_instance?sorting=id&sorting[field]=status")
    assert reply.json["sorting"]["field"] == "id"


async def test_instances_are_listed_by_agent_and_version_as_summaries(api, call):
    instance_id = await call.instance()
    version_id = api.instances[instance_id]["agent_version_id"]
    found = (await page(call, agent_id=api.agent_id, agent_version_id=version_id)).json
    assert [row["id"] for row in found["summaries"]] == [instance_id]
    assert "span_counts" not in found["summaries"][0]
    assert (await page(call, agent_version_id="another")).json["summaries"] == []


async def test_a_list_without_paging_has_fifty_rows(call):
    await call.bulk(*[call.item() for _ in range(51)])
    reply = (await page(call)).json
    assert len(reply["summaries"]) == reply["pagination"]["page_size"] == 50
    assert (await page(call, other="[x")).status == 200


async def test_a_key_on_a_get_is_borne_but_noted(api, call):
    assert (await page(call, idempotency_key="some-key")).status == 200
    assert api.violations == ["GET /api/v1/agent_instance carries a key or body"]
