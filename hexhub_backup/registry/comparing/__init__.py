"""An inspect: an archive's records, staged beside the host's rows and compared with them."""
