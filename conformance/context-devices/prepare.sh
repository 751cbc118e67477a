mknod d/null c 1 3
