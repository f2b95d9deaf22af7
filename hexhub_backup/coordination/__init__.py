"""Who is at work, and what they tell of it: locks, kept events, wishes to cancel."""
