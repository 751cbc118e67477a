mkdir http; echo x > x; tar --owner=7 --group=8 --mtime=@1500000000 -cf http/a.tar x; rm x
