"""What any program with threads needs: locks and cancellation."""
