sha256sum gosu-amd64 > SHA256SUMS
