touch -d @1000000000 old; touch -d @1000000001 d/e/f; touch -d @1000000002 d/e
