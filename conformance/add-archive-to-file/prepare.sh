mkdir s; echo x > s/x; tar -C s -cf a.tar x; rm -r s
