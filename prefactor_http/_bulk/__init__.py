"""Many calls in one request: from any source to one outcome for each item."""
