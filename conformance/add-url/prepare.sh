touch -d @1234567890 http/p/foo
