"""Limits of ids and names."""

MAX_ID_BYTES = 512
MAX_NAME_BYTES = 256
MAX_MESSAGE_ID_BYTES = 128


def malformed_text(text: object, what: str, max_bytes: int) -> str | None:
    """Why a text cannot be an id or a name, or None. `what` names it in the message: "user id".

    It must be a `str`, not empty, valid Unicode, and at most `max_bytes` long in UTF-8. Subclasses of `str` are
    refused, since they may compare or encode differently.
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
