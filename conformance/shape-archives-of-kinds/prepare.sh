mkdir w d && printf 1 > w/one && ln -s one w/link && ln w/one w/hard && mkdir -m 0750 w/dir && touch -d @1000000000 w/one w/dir
for z in gz bz2 xz; do mkdir w/$z; touch -d @1000000000 w/$z; done
tar -C w --owner=3 --group=4 --sort=name --mtime=@1000000000 -czf a.tar.gz . && tar -C w --owner=3 --group=4 --sort=name --mtime=@1000000000 -cjf b.tar.bz2 one bz2 && tar -C w --owner=3 --group=4 --sort=name --mtime=@1000000000 -cJf c.tar.xz xz link
cp a.tar.gz d/ && rm -r w
