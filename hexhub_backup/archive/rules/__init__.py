"""What writer and reader both obey: names, headers, JSON, fields, manifest and checksums."""
