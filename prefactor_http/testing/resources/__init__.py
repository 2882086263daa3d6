"""The resources of the API, each with its actions and validation."""
