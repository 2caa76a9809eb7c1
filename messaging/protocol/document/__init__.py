"""The protocol page and the AsyncAPI document, made from the frames."""
