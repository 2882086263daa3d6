"""A Prefactor API that fails in every way that networks and servers do, and keeps a ledger.

It runs in a process of its own, on raw asyncio streams, and shares no code with the package that
it tests: what that package believes of HTTP and of the API, this one does not take over.
`fault_server.process.FaultServer` starts it; ``faults.py`` lists the faults.
"""
