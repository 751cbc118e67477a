mkdir s; head -c 100000 /dev/zero > s/x; tar -C s -cf - x | head -c 50000 > a.tar; rm -r s
