python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("dir/sock")' || perl -e 'use Socket; socket(S,PF_UNIX,SOCK_STREAM,0); bind(S,sockaddr_un("dir/sock"))'
