"""The command line: reads the environment, prints, and ends the process. Nobody else does."""
