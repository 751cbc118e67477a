{ echo 'FROM busybox'; echo "COPY <<'EOF' /x"; seq 1 150000; echo EOF; echo 'RUN tail -n1 /x > /last'; } > Dockerfile
