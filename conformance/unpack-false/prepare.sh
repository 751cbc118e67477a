echo x > x; tar --sort=name --owner=7 --group=8 --mtime=@1500000000 -cf a.tar x
rm x
