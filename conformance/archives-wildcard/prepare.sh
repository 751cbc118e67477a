for n in b a c; do echo $n > f; echo $n > only-$n; tar --owner=0 --group=0 --mtime=@1500000000 -cf $n.tar f only-$n; rm f only-$n; done
