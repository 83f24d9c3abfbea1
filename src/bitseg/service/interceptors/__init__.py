"""What every call passes through on its way to a handler."""
