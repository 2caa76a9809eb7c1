"""What a client decides: bytes in, frames and happenings out. For every client, whatever its loop or storage."""
