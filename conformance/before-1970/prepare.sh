touch -d 1960-01-01 d/a; touch -d 2100-01-01 d/b
