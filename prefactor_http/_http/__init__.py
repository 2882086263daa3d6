"""Runs one API call: encode it, attempt it with retries, decode and check the response."""
