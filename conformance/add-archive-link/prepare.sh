mkdir s s2; echo x > s/x; tar --owner=1 --group=2 -C s -cf a.tar x; cp a.tar s2; rm -r s
