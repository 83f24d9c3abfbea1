"""What every call passes on its way to a handler, one concern a module; `pipeline` puts them in order."""
