"""What can go wrong, and when: scripted and random faults."""
