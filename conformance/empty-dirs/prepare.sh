mkdir -p d/empty d/a/b; chmod 700 d/a; chmod 3777 d/empty
