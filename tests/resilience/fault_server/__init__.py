"""Fault server: a Prefactor API with network and server faults, and a ledger of applied writes.

It runs in its own process on raw asyncio streams. It shares no code with the package under test, so
that it does not repeat that package's mistakes about HTTP or the API.
`fault_server.process.FaultServer` starts it; ``faults.py`` lists the faults.
"""
