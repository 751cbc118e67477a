mkdir s; echo x > s/x; tar --owner=1 --group=2 -C s -cf a.tar x; rm -r s
