"""What any server with threads needs: locks, cancellation, periodic work, bounded caches and opaque tokens."""
