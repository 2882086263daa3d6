"""Which of two requests to wait stands, and what comes after it."""

import pytest
from prefactor_http._gate import Gate


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock):
    return Gate(clock)


def passing(gate):
    """How many calls of a thousand pass at once."""
    count = 0
    while count < 1000 and not gate.wait_time():
        count += 1
    return count


def test_after_an_absence_of_the_api_all_calls_pass_as_before(gate, clock):
    gate.hold_for(5)
    assert gate.wait_time() == 5
    clock.now += 5
    assert passing(gate) == 1000
    assert not gate.is_closed


def test_after_a_limit_calls_pass_one_by_one(gate, clock):
    gate.close_for(5)
    clock.now += 5
    assert passing(gate) < 50
    assert gate.is_closed


@pytest.mark.parametrize("longer", [3, 7])
def test_of_two_absences_the_longer_stands(gate, clock, longer):
    gate.hold_for(5)
    gate.hold_for(longer)
    assert gate.wait_time() == max(5, longer)
    clock.now += max(5, longer)
    assert passing(gate) == 1000


@pytest.mark.parametrize("first", ["close_for", "hold_for"])
@pytest.mark.parametrize("longer", [3, 7])
def test_a_limit_beside_an_absence_stays_a_limit_and_the_longer_stands(gate, clock, first, longer):
    second = {"close_for": "hold_for", "hold_for": "close_for"}[first]
    getattr(gate, first)(5)
    getattr(gate, second)(longer)
    assert gate.wait_time() == max(5, longer)
    clock.now += max(5, longer)
    assert passing(gate) < 50


def test_an_absence_while_calls_pass_one_by_one_holds_the_next_of_them(gate, clock):
    gate.close_for(5)
    clock.now += 5
    passing(gate)
    gate.hold_for(20)
    assert gate.wait_time() == 20
    clock.now += 20
    assert 0 < passing(gate) < 50


def test_a_limit_that_was_seen_on_few_calls_is_left_behind_within_minutes(gate, clock):
    gate.close_for(60)
    clock.now += 60
    assert gate.wait_time() == 0
    clock.now += 1
    gate.close_for(60)
    clock.now += 60
    began, passed = clock.now, 0
    while passed < 1000 and gate.is_closed:
        seconds = gate.wait_time()
        clock.now += seconds
        passed += not seconds
    assert clock.now - began < 600
