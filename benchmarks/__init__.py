"""How much a call costs, and what a fault does to it: ours, the reference, and the bare limits."""
