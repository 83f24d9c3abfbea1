"""What ids and names may be."""

MAX_ID_BYTES = 512
MAX_NAME_BYTES = 256
MAX_MESSAGE_ID_BYTES = 128


def malformed_text(text: str, what: str, max_bytes: int) -> str | None:
    """Why a text cannot be an id or a name, or None: empty, too long, or not Unicode."""
    if not text:
        return f"the {what} is empty"
    if len(text) * 4 <= max_bytes and text.isascii():
        return None
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        return f"the {what} is not valid Unicode"
    return f"the {what} has {length:,} bytes, the limit is {max_bytes}" if length > max_bytes else None
