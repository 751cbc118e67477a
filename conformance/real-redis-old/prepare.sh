mkdir -p redis-2.8.9/src; echo c > redis-2.8.9/src/r.c; tar --owner=1000 --group=1000 -czf redis-2.8.9.tar.gz redis-2.8.9; rm -r redis-2.8.9
