"""Where a run takes place: machine, environment, servers, accounts, directories; and clearing up."""
