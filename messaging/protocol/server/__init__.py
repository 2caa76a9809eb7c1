"""What a server decides for one session: bytes in, frames and actions out."""
