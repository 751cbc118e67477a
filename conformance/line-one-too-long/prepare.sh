{ echo 'FROM busybox'; printf 'ENV a='; head -c 65530 /dev/zero | tr '\0' x; echo; echo 'RUN echo ${#a} > /out'; } > Dockerfile
