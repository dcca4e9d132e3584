"""Looking inside backups: open them, search them, read their points; nothing is restored and nothing is changed.

opening.open_backups(ports, [(backup, names)], ...) -> context manager of `OpenedBackups`: a `Server` that reads them
"""
