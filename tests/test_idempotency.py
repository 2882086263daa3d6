"""Keys: random ones, derived ones, and those that a caller brings."""

import os
import re
import string
import subprocess
import sys
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefactor_http import HttpClientConfig, PrefactorHttpClient, _pfid
from prefactor_http._bulk.key_pool import KeyPool
from prefactor_http.idempotency import check_key, derive_from, derive_key, new_id, new_key

# Recorded once: derived keys must never change.
VECTORS = [
    (("a",), "0a448f22-aa91-5d88-8c71-1bce43a1b8c1"),
    (("a", "bc"), "1c00cd7b-1501-5bd4-8230-ac7e4a31a525"),
    (("ab", "c"), "4723e6f0-65fa-522c-be3f-35b2fd8d5c26"),
    ((1,), "66cc4630-3e12-5bb9-885e-e7a965aff009"),
    (("1",), "50db4d9e-5a28-596f-9a48-2d9af975bf3d"),
    ((b"1",), "63fa903d-4c71-56f5-990b-175090aea02a"),
    (("",), "9a8404b0-597a-5afa-a668-6acc79ac1f5d"),
    (("", ""), "f043e62c-d483-5047-9060-53596c494ab9"),
    ((-1,), "f46ad802-1839-52da-9ec8-c51438e040e2"),
    (("invoices", 2024, b"\x00\xff"), "3021868e-26cc-530b-8b91-88bc60a5f0e0"),
    (("Grüße", "東京"), "26147a33-5597-5a72-bfdb-6ee9b9da7152"),
]
PARTS = st.lists(
    st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), st.binary()),
    min_size=1,
)


def tagged(parts):
    return [(type(part), part) for part in parts]


def test_a_new_key_is_a_random_uuid():
    for _ in range(100):
        key = new_key()
        parsed = uuid.UUID(key)
        assert str(parsed) == key
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
        assert check_key(key, min_length=8) == key


@given(PARTS, PARTS)
def test_keys_whose_parts_begin_alike_are_those_of_all_parts(begin, rest):
    assert derive_from(*begin)(*rest) == derive_key(*begin, *rest)


def test_keys_made_in_numbers_are_random_uuids_that_differ():
    make_key = KeyPool()
    keys = [make_key() for _ in range(1000)]
    assert len(set(keys)) == 1000
    assert {uuid.UUID(key).version for key in keys} == {4}
    assert [str(uuid.UUID(key)) for key in keys] == keys
    assert {key[19] for key in keys} == set("89ab")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_makes_other_keys_than_its_parent():
    make_key = KeyPool()
    make_key()
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sender, make_key().encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receiver, 100).decode() != make_key()
    os.close(receiver)
    os.close(sender)


def test_new_keys_differ():
    assert len({new_key() for _ in range(10_000)}) == 10_000


def test_each_variant_of_a_uuid_is_made():
    assert {new_key()[19] for _ in range(500)} == set("89ab")


@pytest.mark.parametrize(("parts", "key"), VECTORS)
def test_derived_keys_never_change(parts, key):
    assert derive_key(*parts) == key


def test_a_derived_key_is_the_same_in_another_process():
    parts, key = VECTORS[-1]
    code = f"from prefactor_http.idempotency import derive_key; print(derive_key(*{parts!r}))"
    made = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code], capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() == key


@given(PARTS)
def test_a_derived_key_is_a_uuid_by_name(parts):
    key = derive_key(*parts)
    parsed = uuid.UUID(key)
    assert str(parsed) == key
    assert (parsed.version, parsed.variant) == (5, uuid.RFC_4122)
    assert check_key(key, min_length=8) == key


@given(PARTS, PARTS)
def test_other_parts_give_another_key(some, others):
    assert (derive_key(*some) == derive_key(*others)) == (tagged(some) == tagged(others))


@given(st.text(string.printable, min_size=2), st.data())
def test_where_a_text_is_cut_makes_a_difference(text, data):
    one, other = (data.draw(st.integers(0, len(text))) for _ in range(2))
    keys = {derive_key(text[:cut], text[cut:]) for cut in (one, other)}
    assert len(keys) == len({one, other})
    assert derive_key(text) not in keys


def test_a_part_that_looks_like_the_encoding_of_two_is_not_taken_for_them():
    assert derive_key("as1:b") != derive_key("a", "b")
    assert derive_key("1:as1:b") != derive_key("a", "b")


def test_a_key_is_derived_from_at_least_one_part():
    with pytest.raises(ValueError, match="at least one part"):
        derive_key()


@pytest.mark.parametrize("part", [None, 1.5, True, ("a",), ["a"]])
def test_a_key_is_derived_from_text_bytes_and_whole_numbers_only(part):
    with pytest.raises(TypeError, match=f"not {type(part).__name__}"):
        derive_key("job", part)


@pytest.mark.parametrize(
    "key", ["a", "x" * 64, "order-17", "".join(sorted(set(string.punctuation)))]
)
def test_a_callers_key_is_taken_as_it_is(key):
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "idempotency_key must have 1 to 64 characters, got 0"),
        ("x" * 65, "idempotency_key must have 1 to 64 characters, got 65"),
        ("a b", "idempotency_key must be printable ASCII without spaces"),
        (" ab", "idempotency_key must be printable ASCII without spaces"),
        ("a\nb", "idempotency_key must be printable ASCII without spaces"),
        ("a\tb", "idempotency_key must be printable ASCII without spaces"),
        ("a\x7f", "idempotency_key must be printable ASCII without spaces"),
        ("schlüssel", "idempotency_key must be printable ASCII without spaces"),
    ],
)
def test_a_callers_key_must_fit(key, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_key(key)


@given(st.text())
def test_a_key_passes_exactly_when_each_character_is_visible_ascii(key):
    allowed = 1 <= len(key) <= 64 and all("!" <= character <= "~" for character in key)
    try:
        assert check_key(key) == key
    except ValueError:
        assert not allowed
    else:
        assert allowed


@pytest.mark.parametrize("key", [None, 17, b"bytes", uuid.UUID(int=1)])
def test_a_callers_key_is_text(key):
    with pytest.raises(TypeError, match=f"must be a str, not {type(key).__name__}"):
        check_key(key)


def test_the_name_and_the_shortest_length_can_be_set():
    assert check_key("x" * 8, "items[0].idempotency_key", min_length=8)
    with pytest.raises(ValueError, match=r"items\[0\].idempotency_key must have 8 to 64"):
        check_key("x" * 7, "items[0].idempotency_key", min_length=8)


def test_a_new_id_shares_the_partition_of_the_one_it_is_related_to():
    related = _pfid.encode(1234567890000, 123456789, 0)
    ids = {new_id(related) for _ in range(100)}
    assert len(ids) == 100
    assert {_pfid.partition_of(made) for made in ids} == {123456789}
    assert all(_pfid.is_valid(made) for made in ids)


def test_a_new_id_needs_a_partitioned_one():
    with pytest.raises(ValueError, match="not a partitioned id: 'agent_123'"):
        new_id("agent_123")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_client_keeps_no_key_ready_that_a_copy_of_its_process_would_use_too(monkeypatch):
    monkeypatch.setattr("os.getpid", lambda: 1)  # as in another pid namespace, or a restored copy
    client = PrefactorHttpClient(HttpClientConfig("http://localhost", "token-1234"))
    client._executor.key(None)
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sender, client._executor.key(None).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receiver, 100).decode() != client._executor.key(None)
    os.close(receiver)
    os.close(sender)
