mkdir w
echo x > w/f
tar -cf inner.tar -C w --sort=name --mtime=@1 --owner=3 --group=4 f
mkdir v
cp inner.tar v/
echo y > v/g
tar -czf outer.tar.gz -C v --sort=name --mtime=@1 --owner=0 --group=0 inner.tar g
rm -r w v
