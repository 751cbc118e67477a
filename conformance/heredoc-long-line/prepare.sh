{ echo 'FROM busybox'; echo 'COPY <<EOF /x'; head -c 70000 /dev/zero | tr '\0' x; echo; echo EOF; } > Dockerfile
