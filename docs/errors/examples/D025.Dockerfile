FROM scratch
COPY file <<EOF
EOF
