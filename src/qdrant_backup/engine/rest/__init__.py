"""The embedded server: a subset of Qdrant's REST API on the engine that Qdrant itself publishes as a library.

Where it and a real server differ, the real one is right. What it emulates beside the engine, and from where the shapes
come: `answers.py` (lib/storage/src/content_manager/errors.rs), `defaults.py` (lib/collection/src/config.rs),
`ring.py` (lib/collection/src/hash_ring.rs), all at v1.18.3.
"""
