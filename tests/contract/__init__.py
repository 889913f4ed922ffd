"""GitHub's own description of its REST API, and what must hold by it."""
