{ echo 'FROM busybox'; echo 'RUN true \'; for i in 1 2 3 4; do printf '  && test x = x'; head -c 30000 /dev/zero | tr '\0' ' '; printf ' \\\n'; done; echo '  && echo x > /out'; } > Dockerfile
