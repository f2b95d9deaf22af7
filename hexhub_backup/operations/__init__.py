"""The work itself, one file a verb. Knows no Flask, no signals, no pages."""
