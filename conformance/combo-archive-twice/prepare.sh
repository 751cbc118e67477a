mkdir -p w/s
echo 1 > w/s/f
echo 1 > w/t
chmod 700 w/s
chmod 4755 w/t
tar -cf a.tar -C w --sort=name --mtime=@1000 --owner=1 --group=2 .
rm -r w
mkdir -p w/s
echo 2 > w/s/g
chmod 755 w w/s
echo 2 > w/t
chmod 600 w/t
tar -cf b.tar -C w --sort=name --mtime=@2000 --owner=5 --group=6 .
rm -r w
