tar -cf e.tar -T /dev/null; gzip -nk e.tar
