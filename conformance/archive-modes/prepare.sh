mkdir -p t/sticky; chmod 1777 t/sticky; echo s > t/s; chmod 6755 t/s; mkfifo t/fifo; mknod t/null c 1 3; mkdir t/closed; chmod 0 t/closed; tar --sort=name --owner=7 --group=8 --mtime=@1500000000 -C t -cf a.tar .
rm -r t
