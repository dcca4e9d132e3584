"""The edge to a live Qdrant server: one HTTP layer (`http`) and typed calls on it (`server`)."""
