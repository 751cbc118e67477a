{ echo 'FROM busybox'; printf '#'; head -c 70000 /dev/zero | tr '\0' x; echo; echo 'RUN echo x > /out'; } > Dockerfile
