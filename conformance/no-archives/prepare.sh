echo text > text; gzip -n text
