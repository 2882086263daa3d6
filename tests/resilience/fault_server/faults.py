"""The faults, one function each: they write something else than the normal response.

Each function returns whether the connection stays open. `Fault.applies` says whether the request is
executed first; ``MAYBE`` is random, because a client cannot know.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Any

from fault_server import http1
from fault_server.api import (
    CREATE_SPAN,
    FINISH,
    FINISH_SPAN,
    GET_INSTANCE,
    GET_SPAN,
    REGISTER,
    START,
    STATE_BEFORE,
    TERMINATE,
    Answer,
    Json,
)
from fault_server.bulk import Instead
from fault_server.exchange import BULK, Exchange

YES, NO, MAYBE = "yes", "no", "maybe"
HTML = b"<!doctype html><html><body>An error page of a proxy</body></html>"
ELSEWHERE = "/elsewhere"  # target of redirects; no request may arrive there
SOMEBODY_ELSE = "somebody-else"
_LATE = 0.02  # maximum delay of a late duplicate, in seconds
_OVERSIZED = 1_000_000
_DEEP = 200_000

Deliver = Callable[[Exchange], Awaitable[bool]]


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        deliver: Writes the fault and returns whether the connection stays open.
        applies: Whether the request is executed: ``YES``, ``NO`` or ``MAYBE``.
        suits: Whether the fault can be injected into this request.
        needs_success: Whether an error of the API is sent without the fault.
    """

    deliver: Deliver
    applies: str
    suits: Callable[[Exchange], bool]
    needs_success: bool


FAULTS: dict[str, Fault] = {}


def _any(_: Exchange) -> bool:
    return True


def _write(x: Exchange) -> bool:
    return x.is_write


def _direct_write(x: Exchange) -> bool:
    return x.is_write and x.operation != BULK


def _bulk(x: Exchange) -> bool:
    return x.operation == BULK


def _bulk_of_two(x: Exchange) -> bool:
    return x.operation == BULK and len(x.items) > 1


def pickiness(kind: str) -> int:
    """Return how few requests suit a fault: 0 for all, 1 for some, 2 for those with many items."""
    suits = FAULTS[kind].suits
    return 0 if suits is _any else 1 if suits in {_write, _direct_write, _bulk, _has_state} else 2


def fault(
    applies: str,
    suits: Callable[[Exchange], bool] = _any,
    *,
    needs_success: bool = False,
    name: str | None = None,
) -> Callable[[Deliver], Deliver]:
    def register(deliver: Deliver) -> Deliver:
        FAULTS[name or deliver.__name__] = Fault(deliver, applies, suits, needs_success)
        return deliver

    return register


# The connection is closed, or there is no response.


@fault(MAYBE)
async def close_after_reading(x: Exchange) -> bool:
    return False


@fault(MAYBE)
async def reset_after_reading(x: Exchange) -> bool:
    http1.reset(x.writer)
    return False


@fault(MAYBE)
async def hang(x: Exchange) -> bool:
    await x.wait_for_client()
    return False


@fault(YES)
async def cut_header(x: Exchange) -> bool:
    x.writer.write(x.encoded()[:30])
    return False


@fault(YES)
async def cut_body(x: Exchange) -> bool:
    whole = x.encoded()
    x.writer.write(whole[: len(whole) - x.rng.randint(1, 40)])
    return False


@fault(YES)
async def stall_in_body(x: Exchange) -> bool:
    x.writer.write(x.encoded()[:-10])
    await x.wait_for_client()
    return False


@fault(YES)
async def answer_and_close(x: Exchange) -> bool:
    x.send_answer()  # a kept-alive connection is closed without notice
    return False


@fault(YES)
async def answer_and_close_later(x: Exchange) -> bool:
    x.send_answer()
    await x.writer.drain()
    await asyncio.sleep(x.rng.uniform(0, _LATE))
    return False


@fault(YES)
async def answer_slowly(x: Exchange) -> bool:
    whole = x.encoded()
    for part in (whole[:25], whole[25:-5], whole[-5:]):
        x.writer.write(part)
        await asyncio.sleep(0.01)
    return True


# Invalid or incomplete HTTP.


@fault(YES)
async def length_too_large(x: Exchange) -> bool:
    x.send_answer(content_length=len(http1.response(200, x.execute().body)) + 20)
    return False


@fault(YES)
async def length_too_small(x: Exchange) -> bool:
    body = http1.response(200, x.execute().body).partition(b"\r\n\r\n")[2]
    x.send_answer(content_length=len(body) - 15)  # the rest stays on the connection
    return True


@fault(YES)
async def bad_chunk(x: Exchange) -> bool:
    head = http1.response(200, b"", content_length=None, transfer_encoding="chunked")
    x.writer.write(head + b'10\r\n{"status": "succ\r\nZZ\r\n')
    return False


@fault(YES)
async def cut_chunks(x: Exchange) -> bool:
    body = b'{"status": "success"'
    head = http1.response(200, b"", content_length=None, transfer_encoding="chunked")
    x.writer.write(head + b"%x\r\n%b\r\n" % (len(body), body))
    return False


@fault(YES)
async def cut_gzip(x: Exchange) -> bool:
    packed = gzip.compress(http1.response(200, x.execute().body).partition(b"\r\n\r\n")[2], 1)
    x.send(200, packed[: x.rng.randint(12, len(packed) - 12)], content_encoding="gzip")
    return True


@fault(MAYBE)
async def bad_gzip(x: Exchange) -> bool:
    x.send(200, b"this was never compressed", content_encoding="gzip")
    return True


@fault(MAYBE)
async def gzip_bomb(x: Exchange) -> bool:
    x.send(200, _bomb(), content_encoding="gzip")
    return True


@fault(MAYBE)
async def garbage_status_line(x: Exchange) -> bool:
    x.writer.write(x.pick(b"\x16\x03\x01\x02\x00garbage\r\n\r\n", b"HTTP/1.1 OK then\r\n\r\n"))
    return False


@fault(YES)
async def oversized_header(x: Exchange) -> bool:
    x.send_answer(x_debug="d" * _OVERSIZED)
    return False


@fault(MAYBE)
async def invalid_utf8(x: Exchange) -> bool:
    x.send(200, b'{"status": "success", "details": {"id": "\xff\xfe"}, "outputs": {"\xff": {}}}')
    return True


@fault(MAYBE)
async def deep_nesting(x: Exchange) -> bool:
    x.send(200, b'{"details":' + b"[" * _DEEP)
    return True


@fault(MAYBE)
async def not_a_number(x: Exchange) -> bool:
    x.send(200, b'{"status": "success", "details": NaN, "outputs": NaN}')
    return True


# A 2xx without a valid result.


@fault(MAYBE)
async def html_200(x: Exchange) -> bool:
    x.send(200, HTML, content_type="text/html")
    return True


@fault(MAYBE)
async def empty_200(x: Exchange) -> bool:
    x.send(200)
    return True


@fault(MAYBE)
async def no_content_204(x: Exchange) -> bool:
    x.send(204, content_type=None, content_length=None)
    return True


@fault(MAYBE)
async def array_200(x: Exchange) -> bool:
    x.send(200, [])
    return True


@fault(MAYBE)
async def no_details(x: Exchange) -> bool:
    x.send(200, {"status": "success"})
    return True


@fault(MAYBE, lambda x: x.names_a_resource and x.operation != BULK)
async def another_resource(x: Exchange) -> bool:
    x.send(200, {"status": "success", "details": _another(x, _details_of(x))})
    return True


def _has_state(x: Exchange) -> bool:
    return x.operation in {START, FINISH, TERMINATE, FINISH_SPAN}


@fault(MAYBE, _has_state)
async def state_before(x: Exchange) -> bool:
    details = _details_of(x)
    x.send(200, {"status": "success", "details": _before(details) if x.is_applied else details})
    return True


@fault(NO, lambda x: x.operation in {GET_INSTANCE, GET_SPAN})
async def stale_read(x: Exchange) -> bool:
    answer = x.execute()
    details = _before(answer.body["details"]) if answer.ok else {}
    if not details or x.rng.random() < 0.3:
        x.send(404, {"status": "error", "code": "not_found", "message": "not found"})
    else:
        x.send(200, {"status": "success", "details": details})
    return True


# A bulk response whose outputs do not match the items.


def _change_outputs(x: Exchange, change: Callable[[Json, list[str]], None]) -> None:
    body = x.copy_of_body()
    outputs = body["outputs"]
    change(outputs, [key for key, output in outputs.items() if output["status"] == "success"])
    x.send(200, body)


@fault(YES, _bulk_of_two)
async def outputs_in_another_order(x: Exchange) -> bool:
    body = x.copy_of_body()
    outputs = [*body["outputs"].items()]
    body["outputs"] = dict(outputs[1:] + outputs[:1])
    x.send(200, body)
    return True


@fault(YES, _bulk)
async def outputs_under_unknown_keys(x: Exchange) -> bool:
    body = x.copy_of_body()
    body["outputs"] = {f"{key}-other": output for key, output in body["outputs"].items()}
    x.send(200, body)
    return True


def _of_two_named(x: Exchange) -> bool:
    return _bulk(x) and len(x.named_keys) > 1


@fault(YES, _of_two_named)
async def outputs_under_wrong_keys(x: Exchange) -> bool:
    def rotate(outputs: Json, good: list[str]) -> None:
        good = [key for key in good if key in x.named_keys]
        values = [outputs[key] for key in good]
        outputs.update(zip(good, values[1:] + values[:1], strict=True))

    _change_outputs(x, rotate)
    return True


def _of_two_distinct(x: Exchange) -> bool:
    return _of_two_named(x) or (_bulk_of_two(x) and {i.operation for i in x.items} == {REGISTER})


@fault(YES, _of_two_distinct)
async def outputs_with_one_id(x: Exchange) -> bool:
    def unite(outputs: Json, good: list[str]) -> None:
        if {item.operation for item in x.items} != {REGISTER}:
            good = [key for key in good if key in x.named_keys]
        for key in good:
            outputs[key] = outputs[good[0]]

    _change_outputs(x, unite)
    return True


@fault(YES, lambda x: _bulk(x) and x.names_a_resource)
async def output_of_another_resource(x: Exchange) -> bool:
    def change(outputs: Json, good: list[str]) -> None:
        if good:
            key = x.rng.choice(good)
            outputs[key]["details"] = _another(x, outputs[key]["details"])

    _change_outputs(x, change)
    return True


@fault(YES, _bulk)
async def output_with_state_before(x: Exchange) -> bool:
    operations = {item.key: item.operation for item in x.items}

    def change(outputs: Json, good: list[str]) -> None:
        for key in good:
            if operations[key] in {START, FINISH, TERMINATE, FINISH_SPAN}:
                outputs[key]["details"] = _before(outputs[key]["details"])
                return

    _change_outputs(x, change)
    return True


@fault(YES, _bulk)
async def output_without_details(x: Exchange) -> bool:
    def change(outputs: Json, good: list[str]) -> None:
        if good:
            del outputs[x.rng.choice(good)]["details"]

    _change_outputs(x, change)
    return True


@fault(NO, _bulk_of_two)
async def output_missing(x: Exchange) -> bool:
    x.instead = {x.rng.choice(x.items).key: Instead(None, is_applied=x.pick(True, False))}
    x.send_answer()
    return True


async def _item_error(x: Exchange, code: str, *, may_apply: bool) -> bool:
    answer = Answer(503, {"status": "error", "code": code, "message": "for the moment"}, "refused")
    is_applied = may_apply and x.pick(True, False)
    x.instead = {x.rng.choice(x.items).key: Instead(answer, is_applied=is_applied)}
    x.send_answer()
    return True


for _code, _may_apply in (
    ("rate_limited", False),
    ("service_unavailable", False),
    ("internal_server_error", False),
    ("idempotency_in_progress", True),
):
    fault(NO, _bulk, name=f"item_{_code}")(partial(_item_error, code=_code, may_apply=_may_apply))


# A second response to one request.


@fault(YES, needs_success=True)
async def late_duplicate(x: Exchange) -> bool:
    written = x.send_answer()
    await x.writer.drain()
    await asyncio.sleep(x.rng.uniform(0, _LATE))
    x.writer.write(written)
    return True


@fault(YES, needs_success=True)
async def duplicate_at_once(x: Exchange) -> bool:
    x.writer.write(x.encoded() * 2)
    return True


@fault(YES, needs_success=True)
async def duplicate_before_the_next(x: Exchange) -> bool:
    x.duplicate = x.send_answer()
    return True


# Other statuses.


@fault(YES)
async def continue_100(x: Exchange) -> bool:
    x.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    x.send_answer()
    return True


@fault(YES)
async def early_hints_103(x: Exchange) -> bool:
    x.writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
    x.send_answer()
    return True


@fault(MAYBE)
async def switching_protocols_101(x: Exchange) -> bool:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n"
    x.writer.write(head)
    return x.pick(True, False)


async def _status(x: Exchange, status: int, body: object = HTML, **headers: object) -> bool:
    is_html = body is HTML
    x.send(status, body, content_type="text/html" if is_html else "application/json", **headers)
    return True


def _error(code: str) -> Json:
    return {"status": "error", "code": code, "message": code}


for _redirect in (301, 302, 303, 307, 308):
    fault(MAYBE, name=f"redirect_{_redirect}")(
        partial(_status, status=_redirect, location=ELSEWHERE)
    )

# Statuses of a gateway that timed out, although the API may execute the request.
for _gateway in (408, 500, 502, 503, 504, 520, 529):
    fault(MAYBE, name=f"status_{_gateway}")(partial(_status, status=_gateway))
fault(MAYBE, name="status_500_json")(
    partial(_status, status=500, body=_error("internal_server_error"))
)
fault(NO, name="status_425")(partial(_status, status=425))
fault(NO, name="status_429")(partial(_status, status=429, body=_error("rate_limited")))


async def _retry_after(x: Exchange, status: int, code: str, form: str) -> bool:
    if form == "date":
        wait = formatdate(time.time() + x.pick(-60, -1, 0), usegmt=True)
    else:
        wait = x.pick(*RETRY_AFTER[form])
    return await _status(x, status, _error(code), retry_after=wait)


RETRY_AFTER = {
    "seconds": ("0", "0.01", "0.02"),
    "nonsense": ("soon", "-1", "1e999", "nan", "", "Fri, 99 Foo 2026 25:61:61 GMT"),
}
for _form in ("seconds", "date", "nonsense"):
    fault(NO, name=f"status_429_retry_after_{_form}")(
        partial(_retry_after, status=429, code="rate_limited", form=_form)
    )
    fault(MAYBE, name=f"status_503_retry_after_{_form}")(
        partial(_retry_after, status=503, code="service_unavailable", form=_form)
    )
fault(NO, _direct_write, name="status_429_retry_after_a_day")(
    partial(_status, status=429, body=_error("rate_limited"), retry_after=86400)
)
fault(MAYBE, _write, name="in_progress_409")(
    partial(_status, status=409, body=_error("idempotency_in_progress"))
)
# An error page of a proxy that did not forward the request.
for _refusal in (400, 404, 405, 409, 422):
    fault(NO, name=f"html_{_refusal}")(partial(_status, status=_refusal))
fault(NO, _direct_write, name="unauthorised_401")(
    partial(_status, status=401, body=_error("bad_authtoken"))
)
fault(NO, _bulk_of_two, name="too_large_413")(partial(_status, status=413))


def _details_of(x: Exchange) -> Json:
    """Return details to change: those of the response if the request was executed."""
    if x.is_applied and x.execute().ok:
        return x.copy_of_body()["details"]
    is_span = x.operation in {CREATE_SPAN, FINISH_SPAN, GET_SPAN}
    known = x.api.spans if is_span else x.api.instances
    return dict(known.get(x.resource_id or "") or next(reversed(known.values()), {}))


def _another(x: Exchange, details: Json) -> Json:
    id_ = f"6{x.rng.getrandbits(100):031d}"
    if "schema_name" in details:
        return {**details, "id": id_, "agent_instance_id": f"6{x.rng.getrandbits(100):031d}"}
    return {**details, "id": id_, "external_identifier": SOMEBODY_ELSE}


def _before(details: Json) -> Json:
    status = STATE_BEFORE.get(details["status"])
    if status is None:
        return details
    before: Json = {**details, "status": status, "finished_at": None}
    if status == "pending":
        before["started_at"] = None
    return before


def _bomb(made: list[Any] = []) -> bytes:  # noqa: B006 # made once
    if not made:
        made.append(gzip.compress(b"0" * 20_000_000, 9))
    return bytes(made[0])
