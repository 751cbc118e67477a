mkdir -p target w/dependencies/lib w/snapshot-dependencies w/app/BOOT-INF && printf d > w/dependencies/lib/d.jar && printf a > w/app/BOOT-INF/a.class && touch -d @1000000000 w/dependencies/lib/d.jar w/app/BOOT-INF/a.class
tar -C w --owner=0 --group=0 --mtime=@1000000000 -cf target/app-1.0.tar dependencies snapshot-dependencies app && rm -r w
