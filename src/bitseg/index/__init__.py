"""Users, attributes and events as columns and Roaring bitmaps."""
