ln -s f.c src/lib/a/l
