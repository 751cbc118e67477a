echo x > x; tar --owner=9 --group=8 --mtime=@1500000000 -cf a.tar x; rm x
