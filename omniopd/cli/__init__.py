"""The command `omniopd`: one file per command, each with `add_parser` and `run`."""
