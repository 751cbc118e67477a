{ echo 'FROM busybox'; printf 'RUN echo '; head -c 70000 /dev/zero | tr '\0' x; echo; } > Dockerfile
