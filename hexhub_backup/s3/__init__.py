"""Objects in buckets of S3, for destinations and for the storage."""
