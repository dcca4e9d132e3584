"""The AI Memory installation: its config files, its version, its logs."""
