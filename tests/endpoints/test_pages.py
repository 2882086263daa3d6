"""Pages: reading the next one, and copying and pickling them."""

from __future__ import annotations

import asyncio
import collections.abc
import copy
import gc
import multiprocessing
import pickle
from urllib.parse import parse_qs, urlsplit

import pytest
from raw_server import reply

from prefactor_http import PrefactorClientError, PrefactorHttpError, PrefactorResponseContractError

TIMESTAMP = "2026-01-01T00:00:00Z"


def page(offset, following, *, items=1, count=9):
    summaries = [
        {
            "type": "environment",
            "id": f"e{offset}-{number}",
            "account_id": "a",
            "name": "n",
            "inserted_at": TIMESTAMP,
            "updated_at": TIMESTAMP,
        }
        for number in range(items)
    ]
    pagination = {
        "item_count": count,
        "item_start": offset + 1,
        "item_end": offset + items,
        "page_count": count,
        "page_index": offset,
        "page_offset": offset,
        "page_size": 1,
        "next_page_offset": following,
    }
    return reply(200, {"status": "success", "summaries": summaries, "pagination": pagination})


async def read_all(client):
    return [item.id async for item in await client.environments.list()]


def offsets(raw_server):
    queries = [urlsplit(request.target).query for request in raw_server.requests]
    return [int(parse_qs(query)["pagination[offset]"][0]) for query in queries]


async def test_pages_are_read_at_the_offsets_that_the_api_returns(raw_server, raw_client):
    raw_server.script(page(0, 3), page(3, 7), page(7, None))
    assert await read_all(raw_client) == ["e0-0", "e3-0", "e7-0"]
    assert offsets(raw_server) == [0, 3, 7]


async def test_an_unchanged_offset_after_the_last_item_ends_the_list(raw_server, raw_client):
    raw_server.script(page(0, 1, count=2), page(1, 1, count=2))
    assert await read_all(raw_client) == ["e0-0", "e1-0"]


@pytest.mark.parametrize("following", [1, 0, -1, -50, 10**30, 2**63])
async def test_an_offset_that_does_not_increase_breaks_the_contract(
    raw_server, raw_client, following
):
    raw_server.script(page(0, 1), page(1, following))
    with pytest.raises(PrefactorResponseContractError, match="next_page_offset is") as caught:
        await read_all(raw_client)
    assert str(following) in str(caught.value)
    assert str(caught.value).startswith("environments.list: ")
    assert (caught.value.method, caught.value.path) == ("GET", "/api/v1/environment")
    assert len(raw_server.requests) == 2


async def test_a_page_with_a_wrong_offset_of_its_own_causes_no_endless_loop(raw_server, raw_client):
    raw_server.script(page(7, 1), page(7, 1), page(7, 1))
    with pytest.raises(PrefactorResponseContractError):
        await read_all(raw_client)
    assert len(raw_server.requests) == 2


async def test_the_number_of_consecutive_empty_pages_is_limited(raw_server, raw_client):
    raw_server.script(*(page(offset, offset + 1, items=0) for offset in range(100)))
    with pytest.raises(PrefactorResponseContractError, match="10 pages in a row, up to offset 9"):
        await read_all(raw_client)
    assert len(raw_server.requests) == 10


async def test_some_empty_pages_are_skipped(raw_server, raw_client):
    pages = [page(number, number + 1, items=number % 9 == 0) for number in range(30)]
    raw_server.script(*pages, page(30, None))
    assert len(await read_all(raw_client)) == 5


async def test_a_copy_in_the_same_process_reads_the_next_page(raw_server, raw_client):
    raw_server.script(page(0, 1), page(1, None), page(1, None))
    first = await raw_client.environments.list()
    for duplicate in (copy.copy(first), copy.deepcopy(first)):
        assert duplicate == first
        assert duplicate.pagination == first.pagination
        (item,) = await duplicate.next_page()
        assert item.id == "e1-0"


async def test_an_unpickled_page_has_everything_but_a_client(raw_server, raw_client):
    raw_server.script(page(0, 1), page(1, None))
    first = await raw_client.environments.list()
    last = await first.next_page()
    duplicate = pickle.loads(pickle.dumps(first))
    assert type(duplicate) is type(first)
    assert (duplicate, duplicate.pagination, duplicate.sorting) == (
        first,
        first.pagination,
        first.sorting,
    )
    with pytest.raises(PrefactorClientError, match=r"environments\.list\(offset=1\) on a client"):
        await duplicate.next_page()
    assert await pickle.loads(pickle.dumps(last)).next_page() is None


async def test_an_unpickled_page_still_checks_its_offset(raw_server, raw_client):
    raw_server.script(page(0, -1))
    duplicate = pickle.loads(pickle.dumps(await raw_client.environments.list()))
    with pytest.raises(PrefactorResponseContractError, match=r"environments\.list"):
        await duplicate.next_page()


async def test_a_page_can_be_sent_to_another_process(raw_server, raw_client):
    raw_server.script(page(0, None, items=3))
    listed = await raw_client.environments.list()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(len, (listed,)) == 3


async def test_an_error_while_reading_the_next_page_is_raised(raw_server, raw_client):
    raw_server.script(page(0, 1), reply(404, {"status": "error", "code": "not_found"}))
    with pytest.raises(PrefactorHttpError, match="404"):
        await read_all(raw_client)


async def test_a_list_call_can_be_iterated_without_await(raw_server, raw_client):
    raw_server.script(page(0, 1), page(1, None), page(0, 1), page(1, None))
    call = raw_client.environments.list(page_size=1)
    assert [item.id async for item in call] == ["e0-0", "e1-0"]
    assert [item.id async for item in call] == ["e0-0", "e1-0"]  # reads the list again
    assert offsets(raw_server) == [0, 1, 0, 1]


async def test_a_list_call_is_a_coroutine(raw_server, raw_client):
    raw_server.script(*(page(0, None) for _ in range(4)))
    call = raw_client.environments.list()
    assert isinstance(call, collections.abc.Coroutine)
    assert asyncio.iscoroutine(call)
    task = asyncio.create_task(call)
    waited = await asyncio.wait_for(raw_client.environments.list(), 10)
    gathered = await asyncio.gather(*(raw_client.environments.list() for _ in range(2)))
    for listed in (await task, waited, *gathered):
        assert [item.id for item in listed] == ["e0-0"]


async def test_a_task_of_a_list_call_can_be_cancelled(raw_server, raw_client):
    received = asyncio.Event()

    async def never(_):
        received.set()
        await asyncio.Event().wait()

    raw_server.answer = never
    before_it_starts = asyncio.create_task(raw_client.environments.list())
    before_it_starts.cancel()
    waiting = asyncio.create_task(raw_client.environments.list())
    await received.wait()
    waiting.cancel()
    for task in (before_it_starts, waiting):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(raw_server.requests) == 1


async def test_an_exception_is_raised_in_a_list_call_as_in_a_coroutine(raw_client):
    with pytest.raises(KeyError, match="mine"):
        raw_client.environments.list().throw(KeyError("mine"))
    with pytest.raises(KeyError):
        raw_client.environments.list().throw(KeyError)
    traceback = KeyError().with_traceback(None).__traceback__
    with pytest.raises(KeyError, match="mine"):
        raw_client.environments.list().throw(KeyError, KeyError("mine"), traceback)


async def test_a_list_call_that_is_closed_or_dropped_sends_nothing_and_warns_of_nothing(
    raw_server, raw_client
):
    unused = raw_client.environments.list()
    unused.close()
    started = raw_client.environments.list()
    started.send(None)
    started.close()
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        started.send(None)
    del unused, started
    gc.collect()
    assert len(raw_server.requests) == 0


async def test_arguments_of_a_list_call_are_checked_when_it_is_made(raw_client):
    with pytest.raises(ValueError, match="page_size must be from 1 to 100"):
        raw_client.environments.list(page_size=0)


async def test_a_page_says_whether_there_is_a_next_one(raw_server, raw_client):
    raw_server.script(page(0, 1), page(1, 1, count=2))
    first = await raw_client.environments.list()
    assert first.has_next_page
    second = await first.next_page()
    assert not second.has_next_page  # its next offset is its own
    assert await second.next_page() is None


async def test_a_page_without_pagination_is_the_last_one(raw_server, raw_client):
    raw_server.script(reply(200, {"status": "success", "summaries": [], "pagination": None}))
    only = await raw_client.environments.list(offset=30, page_size=20)
    assert not only.has_next_page
    position = only.pagination
    assert (position.item_count, position.item_start, position.item_end) == (30, 31, 30)
    assert (position.page_index, position.page_count, position.page_offset) == (2, 2, 30)
    assert position.page_size == 20
