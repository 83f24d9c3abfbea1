"""What ids and names may be."""

MAX_ID_BYTES = 512
MAX_NAME_BYTES = 256
MAX_MESSAGE_ID_BYTES = 128


def malformed_text(text: object, what: str, max_bytes: int) -> str | None:
    """Why a text cannot be an id or a name, or None: not text, empty, too long, or not Unicode.

    Only `str` itself is text: bytes, and subclasses that may compare or encode as they like, are not.
    """
    if type(text) is not str:
        shown = repr(text)
        shown = shown if len(shown) <= 60 else shown[:60] + "…"
        return f"the {what} {shown} is of type {type(text).__name__}, not text"
    if not text:
        return f"the {what} is empty"
    if len(text) * 4 <= max_bytes and text.isascii():
        return None
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        return f"the {what} is not valid Unicode"
    return f"the {what} has {length:,} bytes, the limit is {max_bytes}" if length > max_bytes else None
