chmod 755 d/x
