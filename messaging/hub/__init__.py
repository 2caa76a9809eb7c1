"""Fan-out: committed changes from the journal, the bus and the database to this process's sessions."""
