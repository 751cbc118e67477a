mkdir t; echo w > t/.wh.kept; tar --sort=name --owner=7 --group=8 --mtime=@1500000000 -C t -cf a.tar .
rm -r t
