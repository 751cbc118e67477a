mkdir w; echo w > w/i.html; tar --owner=5 --group=5 -czf srv.tgz -C w i.html; rm -r w
