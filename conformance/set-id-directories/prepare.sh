chmod 2750 d/s
