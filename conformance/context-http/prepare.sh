mkdir http t; printf 'FROM scratch\nCOPY . /c/\n' > t/Dockerfile; echo x > t/x; tar --mtime=@1500000000 --owner=0 --group=0 -C t -czf http/ctx.tgz Dockerfile x; rm -r t
