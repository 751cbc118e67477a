mkdir t; echo one > t/one; mkdir t/sub; echo two > t/sub/two; ln -s one t/soft; ln t/one t/hard; chmod 4755 t/sub/two
tar --sort=name --owner=7 --group=8 --mtime=@1500000000 -C t -cf a.tar .
mv a.tar dir/; rm -r t
