mkdir -p t/var/srv t/var/srv2; echo x > t/var/srv/x; ln t/var/srv/x t/var/srv/y; echo z > t/var/srv2/z; tar --sort=name --owner=7 --group=8 --mtime=@1500000000 -C t -cf a.tar var/srv/x var/srv/y var/srv2/z
rm -r t
