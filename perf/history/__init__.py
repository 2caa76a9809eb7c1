"""What happened in a run: `events` are its lines, `recorder` writes them, `reader` loads them."""
