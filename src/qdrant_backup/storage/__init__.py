"""Where backups lie on disk: durable files, the lock, the plain directory, its catalogue and its journals."""
