p=d; for i in 1 2 3 4 5; do p=$p/$(printf 'n%.0s' $(seq 200)); done; mkdir -p $p; echo x > $p/f
