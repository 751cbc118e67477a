mkdir t; printf 'FROM busybox\nCOPY . /c/\n' > t/Dockerfile; echo x > t/x; tar -P --mtime=@1500000000 --owner=0 --group=0 --transform 's,^x,../../../escaped,' -C t -cf ctx.tar Dockerfile x; rm -r t
