"""A small AI Memory to try things on: its texts (`texts.py`), its schema and vectors (`memory.py`)."""
