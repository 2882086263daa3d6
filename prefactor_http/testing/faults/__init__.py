"""Fault injection: scripted and random faults."""
