echo x > x; tar -P --owner=3 --group=4 --mtime=@1500000000 --transform 's,^x,../../escaped,' -cf a.tar x; rm x
