"""Where archives, events, plans, undo sets and locks live: what operations of any process share."""
