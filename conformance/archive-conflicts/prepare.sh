mkdir t; cd t; echo f > dir-to-file; ln -s file dir-to-link; mkdir file-to-dir link-to-dir stays; echo in > file-to-dir/in; echo in > link-to-dir/in; echo own > link-to-file; echo new > stays/new; cd ..; tar --sort=name --owner=7 --group=8 --mtime=@1500000000 -C t -cf a.tar .
rm -r t
