"""Changing single points of live collections so that it can be taken back: what `recover` does, and `undo` of it.

`plan.py` keeps what is to be done in a file, with what was there before; `carry_out.py` does it, or takes it back.
Nothing here decides which points: `operations/looking/recover.py` does.
"""
