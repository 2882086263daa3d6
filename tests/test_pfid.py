"""Partitioned ids: the test vectors of the contract, and properties of all ids."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefactor_http import _pfid

VECTORS = [
    ((1234567890000, 123456789, 0), "013xrzp12g3nqk8n0000000000000000"),
    ((281474976710655, 0, 0), "7zzzzzzzzz0000000000000000000000"),
    ((0, 1073741823, 2**80 - 1), "0000000000zzzzzzzzzzzzzzzzzzzzzz"),
    ((1, 1, 0), "00000000010000010000000000000000"),
]
TIMESTAMPS = st.integers(0, 2**48 - 1)
PARTITIONS = st.integers(0, 2**30 - 1)
RANDOMS = st.integers(0, 2**80 - 1)


@pytest.mark.parametrize(("parts", "pfid"), VECTORS)
def test_the_test_vectors_of_the_contract_encode_and_decode(parts, pfid):
    assert _pfid.encode(*parts) == pfid
    assert _pfid.decode(pfid) == _pfid.Pfid(*parts)


@given(TIMESTAMPS, PARTITIONS, RANDOMS)
def test_an_encoded_id_decodes_to_its_parts(timestamp_ms, partition, random):
    pfid = _pfid.encode(timestamp_ms, partition, random)
    assert _pfid.is_valid(pfid)
    assert _pfid.decode(pfid) == _pfid.Pfid(timestamp_ms, partition, random)
    assert _pfid.partition_of(pfid) == partition


@given(TIMESTAMPS, TIMESTAMPS, PARTITIONS, RANDOMS, RANDOMS)
def test_ids_of_one_partition_sort_by_time(earlier, later, partition, one, other):
    earlier, later = sorted((earlier, later))
    if earlier < later:
        assert _pfid.encode(earlier, partition, one) < _pfid.encode(later, partition, other)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((-1, 0, 0), "timestamp_ms"),
        ((2**48, 0, 0), "timestamp_ms"),
        ((0, -1, 0), "partition"),
        ((0, 2**30, 0), "partition"),
        ((0, 0, -1), "random"),
        ((0, 0, 2**80), "random"),
    ],
)
def test_a_part_out_of_range_is_named(parts, message):
    with pytest.raises(ValueError, match=message):
        _pfid.encode(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "agent_123",
        "8zzzzzzzzz0000000000000000000000",  # more than 158 bits
        "013XRZP12G3NQK8N0000000000000000",  # upper case
        "013xrzp12g3nqk8n000000000000000u",  # not a digit of Crockford's
        "013xrzp12g3nqk8n000000000000000",  # too short
        "013xrzp12g3nqk8n0000000000000000\n",
    ],
)
def test_an_invalid_id_is_rejected(text):
    assert not _pfid.is_valid(text)
    with pytest.raises(ValueError, match="not a partitioned id"):
        _pfid.decode(text)


def test_generated_ids_are_unique_and_contain_time_and_partition():
    before = time.time_ns() // 1_000_000
    ids = {_pfid.generate(42) for _ in range(100)}
    after = time.time_ns() // 1_000_000
    assert len(ids) == 100
    for pfid in ids:
        parts = _pfid.decode(pfid)
        assert parts.partition == 42
        assert before <= parts.timestamp_ms <= after


def test_clock_and_randomness_can_be_given():
    assert _pfid.generate(123456789, timestamp_ms=1234567890000, random=0) == VECTORS[0][1]
